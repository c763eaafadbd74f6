"""One connection over a fake exchange, on a loop whose clock jumps (see `virtual_time`)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from collector.buffer import MessageBuffer
from collector.connection import REPLY_SECONDS, Connection, Endpoint
from collector.transports import Closed, ConnectError
from tests.collector.fake_exchange import FakeExchange, FakeLink, ignore, now, trade, until

URL = "ws://exchange/stream"
SILENCE = 60.0
AGE = 0.25


class Bench:
    """A connection, its exchange and what came out of its buffer."""

    def __init__(self, exchange: FakeExchange, streams: int) -> None:
        self.exchange = exchange
        self.streams = tuple(f"s{number}@trade" for number in range(streams))
        self.handed_over: list[bytes] = []
        self.complaints: list[str] = []
        self.news = 0
        self.subject = Connection(
            "trade-0#1",
            Endpoint(URL, exchange, silence_seconds=SILENCE, frame_seconds=AGE),
            self.streams,
            new_buffer=self._new_buffer,
            overlaps=lambda: False,
            on_news=self._on_news,
        )
        self.running = asyncio.create_task(self.subject.run())

    def _new_buffer(self, _: Connection) -> MessageBuffer:
        return MessageBuffer(self._on_full, max_messages=100, max_bytes=10**6, max_age=AGE)

    def _on_full(self, messages: list[bytes], _: list[int]) -> None:
        self.handed_over += messages
        for message in messages:
            if b'"stream"' not in message or b"serverShutdown" in message:
                complaint = self.subject.on_control(json.loads(message))
                if complaint is not None:
                    self.complaints.append(str(complaint))

    def _on_news(self) -> None:
        self.news += 1


@asynccontextmanager
async def bench(
    exchange: FakeExchange | None = None, *, streams: int = 2
) -> AsyncIterator[tuple[Bench, FakeLink]]:
    it = Bench(exchange or FakeExchange(), streams)
    try:
        yield it, await it.exchange.link()
    finally:
        it.running.cancel()
        await asyncio.gather(it.running, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_subscribes_in_order_and_within_the_message_limit() -> None:
    async with bench(streams=450) as (it, link):
        await until(lambda: it.subject.subscriptions.is_settled)
        times, messages = zip(*link.sent, strict=True)
        assert [message["id"] for message in messages] == [1, 2, 3]
        assert [name for message in messages for name in message["params"]] == list(it.streams)
        assert [round(time - times[0], 3) for time in times] == [0, 0.25, 0.5]
        assert it.exchange.urls == [URL]
        assert it.subject.is_open
        assert it.subject.subscriptions.active == set(it.streams)


async def test_messages_reach_the_buffer_and_its_owner() -> None:
    exchange = FakeExchange()
    exchange.on_message = ignore
    async with bench(exchange) as (it, link):
        link.deliver(b'{"stream":"a"}')
        link.deliver(b'{"stream":"b"}')
        await until(lambda: it.handed_over == [b'{"stream":"a"}', b'{"stream":"b"}'], seconds=1)


async def test_a_change_is_asked_for_on_the_open_connection() -> None:
    async with bench() as (it, link):
        await until(lambda: it.subject.subscriptions.is_settled)
        it.subject.want(("s1@trade", "new@trade"))
        await until(lambda: it.subject.subscriptions.active == {"s1@trade", "new@trade"})
        assert link.asked[1:] == [("UNSUBSCRIBE", ["s0@trade"]), ("SUBSCRIBE", ["new@trade"])]
        times = [time for time, _ in link.sent]
        assert times[2] - times[1] >= 0.25


async def test_a_refused_batch_is_asked_for_in_halves() -> None:
    def refuse_s1(link: FakeLink, message: dict[str, Any]) -> None:
        if "s1@trade" in message["params"]:
            link.tell({"code": 2, "msg": "Invalid request: odd name"})
        else:
            link.tell({"result": None, "id": message["id"]})

    exchange = FakeExchange()
    exchange.on_message = refuse_s1
    async with bench(exchange, streams=4) as (it, _):
        await until(lambda: it.subject.subscriptions.refused == {"s1@trade"})
        assert it.subject.subscriptions.active == {"s0@trade", "s2@trade", "s3@trade"}
        assert len(it.complaints) == 3
        assert it.complaints[-1] == ("2: Invalid request: odd name, to SUBSCRIBE of s1@trade")


async def test_no_answer_is_trouble() -> None:
    exchange = FakeExchange()
    exchange.on_message = ignore
    async with bench(exchange) as (it, link):
        await asyncio.sleep(REPLY_SECONDS)
        assert it.subject.trouble() is None
        await asyncio.sleep(AGE)
        assert it.subject.trouble() == "SUBSCRIBE not answered for 10.25 s"
        assert not link.is_ended, "its lane decides"


async def test_silence_is_trouble() -> None:
    async with bench() as (it, link):
        for _ in range(20):
            await asyncio.sleep(SILENCE - 5)
            assert it.subject.trouble() is None
            link.deliver(trade("s0@trade", 1))
        await asyncio.sleep(SILENCE + 1)
        assert it.subject.trouble() == "silent for 60 s"


@pytest.mark.parametrize(
    "notice",
    [
        {"e": "serverShutdown", "E": 1},
        {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}},
    ],
)
async def test_the_server_s_notice_is_trouble(notice: dict[str, Any]) -> None:
    async with bench() as (it, link):
        await asyncio.sleep(1)
        before = it.news
        link.tell(notice)
        await asyncio.sleep(AGE)
        assert it.subject.trouble() == "serverShutdown"
        assert it.news == before + 1


async def test_the_end_is_told_and_the_last_words_are_handed_over() -> None:
    async with bench() as (it, link):
        link.deliver(trade("s0@trade", 7))
        link.end(Closed(1008, "Pong timeout"))
        assert await it.running == "code 1008 Pong timeout"
        assert it.handed_over[-1] == trade("s0@trade", 7)
        assert not it.subject.is_open


async def test_cancelling_closes_the_link_and_hands_over_what_is_there() -> None:
    async with bench() as (it, link):
        link.deliver(trade("s0@trade", 7))
        it.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await it.running
        assert link.is_ended
        assert it.handed_over[-1] == trade("s0@trade", 7)


async def test_what_arrives_while_it_closes_is_handed_over() -> None:
    exchange = FakeExchange()
    exchange.close_seconds = 2.0
    async with bench(exchange) as (it, link):
        it.running.cancel()
        await asyncio.sleep(1)
        assert it.subject.is_open
        link.deliver(trade("s0@trade", 8))
        await asyncio.gather(it.running, return_exceptions=True)
        assert now() >= 2
        assert it.handed_over[-1] == trade("s0@trade", 8)


async def test_a_refusal_is_raised() -> None:
    it = Bench(FakeExchange(False), streams=2)
    with pytest.raises(ConnectError, match="nobody listens"):
        await it.running
    assert not it.subject.is_open


async def test_a_mistake_of_ours_is_no_end_of_a_connection() -> None:
    async with bench() as (it, link):
        link.fail(ZeroDivisionError("a bug"))
        with pytest.raises(ZeroDivisionError):
            await it.running
