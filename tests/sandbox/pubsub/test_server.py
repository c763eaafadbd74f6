import asyncio
import time

import pytest

from sandbox.pubsub.server import PortTakenError, PubSubServer, ServerSettings

pytestmark = pytest.mark.integration


async def test_a_taken_port_is_refused_by_name():
    async with PubSubServer(ServerSettings(port=0)) as first:
        second = PubSubServer(ServerSettings(port=first.port))
        with pytest.raises(PortTakenError, match=rf"cannot listen on {first.address}"):
            await second.start()


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
