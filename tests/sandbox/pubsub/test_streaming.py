import asyncio
import contextlib

import pytest
from google.api_core import exceptions
from google.pubsub_v1.types import StreamingPullRequest

from sandbox.pubsub import streaming
from sandbox.pubsub.faults import Fault
from tests.sandbox.pubsub.conftest import SUBSCRIPTION

pytestmark = pytest.mark.integration


class Stream:
    """One streaming pull: what to send goes into a queue, what came is awaited."""

    def __init__(self, live, **first: object) -> None:
        self.requests: asyncio.Queue = asyncio.Queue()
        first = {"subscription": SUBSCRIPTION, "stream_ack_deadline_seconds": 10} | first
        self.send(**first)
        self.live = live
        self.messages = []

    def send(self, **fields: object) -> None:
        self.requests.put_nowait(StreamingPullRequest(**fields))

    def close(self) -> None:
        self.requests.put_nowait(None)

    async def _sent(self):
        while (request := await self.requests.get()) is not None:
            yield request

    async def __aenter__(self):
        call = await self.live.subscriber.streaming_pull(
            requests=self._sent(), retry=None, timeout=10
        )
        self.responses = aiter(call)
        return self

    async def __aexit__(self, *_):
        self.close()
        with contextlib.suppress(StopAsyncIteration, exceptions.GoogleAPICallError):
            await self.next_response()

    async def next_response(self):
        return await asyncio.wait_for(anext(self.responses), 5)

    async def next_texts(self):
        response = await self.next_response()
        self.messages = list(response.received_messages)
        return [item.message.data.decode() for item in self.messages]


async def test_delivers_and_acknowledges_on_the_stream(live):
    async with Stream(live) as stream:
        await live.publish("a", "b")
        assert await stream.next_texts() == ["a", "b"]
        first, second = stream.messages
        stream.send(ack_ids=[first.ack_id])
        stream.send(modify_deadline_ack_ids=[second.ack_id], modify_deadline_seconds=[0])
        assert await stream.next_texts() == ["b"]
        stream.send()  # the client's heartbeat
        await live.publish("c")
        assert await stream.next_texts() == ["c"]


async def test_flow_control_by_messages(live):
    await live.publish(*"abcdef")
    async with Stream(live, max_outstanding_messages=2) as stream:
        assert await stream.next_texts() == ["a", "b"]
        await live.ack(stream.messages[:1])  # as google-cloud-pubsub does: not on the stream
        assert await stream.next_texts() == ["c"]


async def test_flow_control_by_bytes(live):
    await live.publish("aaaa", "bbbb", "cccc")
    async with Stream(live, max_outstanding_bytes=5) as stream:
        assert await stream.next_texts() == ["aaaa", "bbbb"]
        stream.send(ack_ids=[stream.messages[0].ack_id])
        assert await stream.next_texts() == ["cccc"]


async def test_closing_the_sending_side_ends_the_stream_well(live):
    stream = Stream(live)
    async with stream:
        stream.close()
        with pytest.raises(StopAsyncIteration):
            await stream.next_response()


async def test_what_a_closed_stream_held_comes_back_after_its_deadline(live):
    await live.publish("a")
    async with Stream(live) as stream:
        await stream.next_texts()
    stats = live.server.store.subscription_stats(live.server.clock())[SUBSCRIPTION]
    assert stats.outstanding_messages == 1
    live.server.store.expire(live.server.clock() + 10_000_000)
    assert [item.message.data for item in await live.pull()] == [b"a"]


@pytest.mark.parametrize(
    ("first", "later", "error", "reason"),
    [
        ({"subscription": ""}, None, exceptions.InvalidArgument, "must set subscription"),
        ({"subscription": SUBSCRIPTION + "z"}, None, exceptions.NotFound, "does not exist"),
        ({"stream_ack_deadline_seconds": 0}, None, exceptions.InvalidArgument, "between 10"),
        ({"stream_ack_deadline_seconds": 601}, None, exceptions.InvalidArgument, "and 600"),
        ({}, {"subscription": SUBSCRIPTION}, exceptions.InvalidArgument, "first message"),
        ({}, {"max_outstanding_messages": 1}, exceptions.InvalidArgument, "first message"),
        ({}, {"ack_ids": ["zork"]}, exceptions.InvalidArgument, "zork"),
        ({}, {"modify_deadline_ack_ids": ["1:1"]}, exceptions.InvalidArgument, "same size"),
        ({}, {"stream_ack_deadline_seconds": 5}, exceptions.InvalidArgument, "between 10"),
    ],
)
async def test_mistakes_end_the_stream(live, first, later, error, reason):
    async with Stream(live, **first) as stream:
        if later:
            stream.send(**later)
        with pytest.raises(error, match=reason):
            await stream.next_response()


async def test_deleting_the_subscription_ends_the_stream(live):
    async with Stream(live) as stream:
        await live.publish("a")
        await stream.next_texts()
        await live.subscriber.delete_subscription(subscription=SUBSCRIPTION, retry=None, timeout=5)
        with pytest.raises(exceptions.NotFound):
            await stream.next_response()


async def test_stopping_the_server_ends_the_stream(live):
    async with Stream(live) as stream:
        await live.publish("a")
        await stream.next_texts()
        stopping = asyncio.create_task(live.server.stop())
        with pytest.raises(exceptions.ServiceUnavailable):
            await stream.next_response()
        await stopping


async def test_unavailable_strikes_an_open_stream_and_loses_nothing(live):
    async with Stream(live) as stream:
        await live.publish("a")
        await stream.next_texts()
        live.server.faults.add(Fault("unavailable", calls=1), live.server.clock())
        live.server.store.publish(
            "projects/crypto-local/topics/trades",
            [live.server.store.subscription(SUBSCRIPTION).unacked_messages()[0].draft],
            live.server.clock(),
        )
        with pytest.raises(exceptions.ServiceUnavailable):
            await stream.next_response()
    assert len(await live.pull()) == 1


async def test_idle_streams_are_kept_alive(live, monkeypatch):
    monkeypatch.setattr(streaming, "KEEP_ALIVE_SECONDS", 0.05)
    async with Stream(live) as stream:
        assert await stream.next_texts() == []
        assert await stream.next_texts() == []
