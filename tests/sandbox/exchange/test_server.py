import asyncio

import pytest

from sandbox.exchange.server import Exchange
from sandbox.exchange.settings import Settings

from .conftest import running, within

pytestmark = pytest.mark.integration


async def test_it_serves_until_told_to_stop() -> None:
    async with running() as exchange:
        stop = asyncio.Event()
        serving = asyncio.create_task(exchange.run_until(stop))
        await asyncio.sleep(0)
        assert not serving.done()
        stop.set()
        await within(serving)


async def test_a_task_that_fails_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_self: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("sandbox.exchange.feed.MarketFeed.run", broken)
    async with running() as exchange:
        with pytest.raises(RuntimeError, match="broken"):
            await within(exchange.run_until(asyncio.Event()))


async def test_a_taken_port_is_an_error() -> None:
    async with running() as exchange:
        port = int(exchange.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            await within(Exchange(Settings(port=port, symbols=2, history_s=60)).__aenter__())


def test_it_has_no_address_before_it_is_started() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        _ = Exchange(Settings()).url
