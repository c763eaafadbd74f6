import asyncio
import time

import pytest

from sandbox.pubsub.model import DAY
from sandbox.pubsub.server import (
    Clock,
    PortTakenError,
    PubSubServer,
    ServerSettings,
    wall_clock,
)

pytestmark = pytest.mark.integration


async def test_a_taken_port_is_refused_by_name():
    async with PubSubServer(ServerSettings(port=0)) as first:
        second = PubSubServer(ServerSettings(port=first.port))
        with pytest.raises(PortTakenError, match=rf"cannot listen on {first.address}"):
            await second.start()


async def test_a_server_that_does_not_start_lets_go_of_its_journal(tmp_path):
    journal = tmp_path / "journal.db"
    async with PubSubServer(ServerSettings(port=0)) as first:
        with pytest.raises(PortTakenError):
            async with PubSubServer(ServerSettings(port=first.port, journal=journal)):
                pass
    async with PubSubServer(ServerSettings(port=0, journal=journal)) as second:
        assert second.port


async def test_a_tick_that_fails_is_not_the_last(live, monkeypatch, caplog):
    failed, expire = asyncio.Event(), live.server.store.expire

    def fail_once(now):
        if failed.is_set():
            again.set()
            return expire(now)
        failed.set()
        raise RuntimeError("out of time")

    again = asyncio.Event()
    monkeypatch.setattr(live.server.store, "expire", fail_once)
    async with asyncio.timeout(5):
        await again.wait()
    assert "out of time" in caplog.text


def test_time_never_runs_backwards(monkeypatch):
    times = iter([10, 7, 11, 3])
    monkeypatch.setattr("sandbox.pubsub.server.wall_clock", lambda: next(times))
    clock = Clock(not_before=8)
    assert [clock() for _ in range(4)] == [10, 10, 11, 11]
    monkeypatch.setattr("sandbox.pubsub.server.wall_clock", lambda: 5)
    assert Clock(not_before=8)() == 8


async def test_time_goes_on_from_the_journal(tmp_path, monkeypatch):
    settings = ServerSettings(port=0, journal=tmp_path / "journal.db")
    tomorrow = wall_clock() + DAY
    with monkeypatch.context() as patch:
        patch.setattr("sandbox.pubsub.server.wall_clock", lambda: tomorrow)
        async with PubSubServer(settings):
            pass
    async with PubSubServer(settings) as server:
        assert server.clock() == tomorrow


async def test_the_port_is_free_after_stop():
    async with PubSubServer(ServerSettings(port=0)) as first:
        port = first.port
    async with PubSubServer(ServerSettings(port=port)) as second:
        assert second.port == port


async def test_stop_answers_waiting_pulls(live):
    pulling = asyncio.create_task(live.pull())
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await live.server.stop()
    assert await pulling == []
    assert time.monotonic() - began < 1.5
