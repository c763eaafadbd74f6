"""One lane over a fake exchange, on a loop whose clock jumps (see `virtual_time`)."""

import asyncio
import itertools
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from collector.buffer import MessageBuffer
from collector.connection import Connection, Endpoint
from collector.lane import Lane, LaneOptions, Queue
from collector.protocol import AttemptLimiter, Shard
from collector.transports import Closed
from tests.collector.fake_exchange import (
    FakeExchange,
    FakeLink,
    acknowledge,
    ignore,
    now,
    trade,
    until,
)

SILENCE = 60.0
AGE = 0.25


class Bench:
    """A lane, its exchange and what was handed over."""

    def __init__(self, exchange: FakeExchange, **changes: Any) -> None:
        self.exchange = exchange
        self.ids: dict[str, list[int]] = defaultdict(list)
        self.connections: dict[str, Connection] = {}
        self.overlapped: list[tuple[str, bool]] = []
        given = {
            "limiter": AttemptLimiter(),
            "queue": Queue(),
            "rotate_seconds": 82_800,
            "numbers": itertools.count(1),
            "chance": random.Random(7),
            "silence_seconds": SILENCE,
            "shard": Shard("trade-0", ("s0@trade", "s1@trade")),
            **changes,
        }
        shard, silence = given.pop("shard"), given.pop("silence_seconds")
        self.lane = Lane(
            shard,
            LaneOptions(
                Endpoint("ws://exchange/stream", exchange, silence, AGE),
                new_buffer=lambda on_full: MessageBuffer(
                    on_full, max_messages=100, max_bytes=10**6, max_age=AGE
                ),
                on_full=self._on_full,
                **given,
            ),
        )
        self.running = asyncio.create_task(self.lane.run())
        self.market: asyncio.Task[None] | None = None

    def _on_full(self, connection: Connection, messages: list[bytes], _: list[int]) -> None:
        self.overlapped.append((connection.name, connection.overlaps))
        self.connections[connection.name] = connection
        for message in messages:
            payload = json.loads(message)
            if payload.get("data", {}).get("e") == "trade":
                self.ids[payload["stream"]].append(payload["data"]["t"])
            else:
                connection.on_control(payload)

    def trade_on(self, *streams: str, every: float = 0.1) -> None:
        """Let the streams trade until the end."""

        async def market() -> None:
            while True:
                for stream in streams:
                    self.exchange.emit(stream)
                await asyncio.sleep(every)

        self.market = asyncio.create_task(market())

    def assert_nothing_lost(self) -> None:
        for stream, ids in self.ids.items():
            assert set(ids) == set(range(min(ids), max(ids) + 1)), stream

    @property
    def state(self) -> Any:
        return self.lane.state


@asynccontextmanager
async def bench(exchange: FakeExchange | None = None, **changes: Any) -> AsyncIterator[Bench]:
    it = Bench(exchange or FakeExchange(), **changes)
    try:
        yield it
    finally:
        for task in filter(None, (it.running, it.market)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


class TestReconnect:
    """A connection that ended by itself."""

    async def test_subscribes_again_and_tells_why(self) -> None:
        async with bench() as it:
            first = await it.exchange.link()
            first.deliver(trade("s0@trade", 1))
            ended = now()
            first.end(Closed(1008, "Pong timeout"))
            second = await it.exchange.link(2)
            assert it.ids["s0@trade"] == [1]
            assert second.asked == first.asked
            assert (it.state.connects, it.state.failures, it.state.is_open) == (2, 0, True)
            assert it.state.rotations == 0
            assert it.state.last_end == "code 1008 Pong timeout"
            assert 0.1 <= it.exchange.attempts[1] - ended <= 0.2

    async def test_a_refusal_counts_and_names_its_cause(self) -> None:
        async with bench(FakeExchange(False)) as it:
            await it.exchange.link()
            assert (it.state.connects, it.state.failures) == (1, 1)
            assert it.state.last_end == "OSError: nobody listens"

    async def test_backs_off_to_a_cap(self) -> None:
        async with bench(FakeExchange(*[False] * 12)) as it:
            await it.exchange.link()
            limits = [min(0.2 * 2**number, 30) for number in range(12)]
            for wait, limit in zip(it.exchange.waits, limits, strict=True):
                assert limit / 2 <= wait <= limit
            assert sum(it.exchange.waits[-3:]) >= 45

    async def test_a_long_life_makes_the_next_wait_short(self) -> None:
        async with bench(FakeExchange(*[False] * 8)) as it:
            link = await it.exchange.link()
            await asyncio.sleep(31)
            ended = now()
            link.end(Closed(1001, ""))
            await it.exchange.link(2)
            assert it.exchange.attempts[-1] - ended <= 0.21

    async def test_a_short_life_keeps_backing_off(self) -> None:
        async with bench(FakeExchange(*[False] * 8)) as it:
            link = await it.exchange.link()
            link.end(Closed(1001, ""))
            await it.exchange.link(2)
            assert it.exchange.waits[-1] >= 15

    async def test_keeps_to_the_limit_of_attempts(self) -> None:
        limiter = AttemptLimiter(limit=2, window=300)
        async with bench(FakeExchange(False, False, False), limiter=limiter) as it:
            await it.exchange.link()
            first, _, third, fourth = it.exchange.attempts
            assert third - first == pytest.approx(300)
            assert fourth - first >= 300

    async def test_no_overlap_is_told(self) -> None:
        async with bench() as it:
            it.trade_on("s0@trade")
            link = await it.exchange.link()
            await asyncio.sleep(5)
            link.end(Closed(1001, ""))
            await asyncio.sleep(5)
            assert not any(overlaps for _, overlaps in it.overlapped)


class TestRotation:
    """Make before break."""

    async def rotated(self, it: Bench, number: int = 1) -> None:
        await until(lambda: it.state.rotations == number)
        await until(lambda: len(it.exchange.open_links) == 1)

    async def test_the_new_one_delivers_before_the_old_one_closes(self) -> None:
        async with bench() as it:
            it.trade_on("s0@trade", "s1@trade")
            old = await it.exchange.link()
            await asyncio.sleep(5)
            it.lane.rotate("asked to")
            new = await it.exchange.link(2)
            assert len(it.exchange.open_links) == 2
            await until(lambda: old.is_ended)
            assert it.connections["trade-0#2"].subscriptions.active == set(it.lane.shard.streams)
            assert not new.is_ended
            await self.rotated(it)
            await asyncio.sleep(1)
            it.assert_nothing_lost()
            assert len(it.ids["s0@trade"]) > len(set(it.ids["s0@trade"])), "they did overlap"
            assert it.state.last_end == "asked to"

    async def test_the_owner_is_told_of_the_overlap(self) -> None:
        async with bench() as it:
            it.trade_on("s0@trade")
            await it.exchange.link()
            await asyncio.sleep(5)
            it.lane.rotate("asked to")
            await self.rotated(it)
            await asyncio.sleep(5)
            kinds = [overlaps for _, overlaps in it.overlapped]
            first, last = kinds.index(True), len(kinds) - 1 - kinds[::-1].index(True)
            assert all(kinds[first : last + 1])
            assert "trade-0#2" not in dict(it.overlapped[:first])
            assert "trade-0#1" not in dict(it.overlapped[last + 1 :])
            assert it.overlapped[-1] == ("trade-0#2", False)

    async def test_before_the_exchange_would_end_it(self) -> None:
        async with bench(rotate_seconds=600) as it:
            it.trade_on("s0@trade", every=20)
            old = await it.exchange.link()
            await until(lambda: old.is_ended)
            assert 480 <= now() <= 612
            assert it.state.last_end == "it is old"
            await asyncio.sleep(60)
            it.assert_nothing_lost()

    async def test_never_two_at_once_because_of_their_age(self) -> None:
        exchange, queue = FakeExchange(), Queue()
        async with (
            bench(exchange, queue=queue, rotate_seconds=10) as one,
            bench(exchange, queue=queue, rotate_seconds=10) as other,
        ):
            one.trade_on("s0@trade", "s1@trade")
            for _ in range(600):
                await asyncio.sleep(0.1)
                assert len(exchange.open_links) <= 3
            assert one.state.rotations >= 4
            assert other.state.rotations >= 4

    async def test_on_the_server_s_notice_each_once(self) -> None:
        async with bench() as it:
            it.trade_on("s0@trade")
            link = await it.exchange.link()
            told = now()
            for _ in range(3):
                link.tell({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})
            await it.exchange.link(2)
            assert it.exchange.attempts[1] - told <= AGE + 0.21
            await self.rotated(it)
            await asyncio.sleep(5)
            assert it.state.connects == 2
            assert it.state.last_end == "serverShutdown"
            it.assert_nothing_lost()

    async def test_on_silence(self) -> None:
        async with bench() as it:
            link = await it.exchange.link()
            await asyncio.sleep(1)
            link.streams.clear()  # it stalls
            it.trade_on("s0@trade", "s1@trade")
            stalled = now()
            await it.exchange.link(2)
            assert now() - stalled == pytest.approx(SILENCE, abs=2)
            await self.rotated(it)
            assert link.is_ended
            assert it.state.last_end == "silent for 60 s"

    async def test_on_a_question_without_an_answer(self) -> None:
        exchange = FakeExchange()
        async with bench(exchange) as it:
            it.trade_on("s0@trade")
            await exchange.link()
            await asyncio.sleep(1)
            exchange.on_message = ignore
            it.lane.carry(("s0@trade", "s1@trade", "new@trade"))
            await asyncio.sleep(1)
            exchange.on_message = acknowledge
            await self.rotated(it)
            assert exchange.open_links[0].streams == {"s0@trade", "s1@trade", "new@trade"}
            it.assert_nothing_lost()

    async def test_a_new_one_that_cannot_connect_leaves_the_old_one(self) -> None:
        exchange = FakeExchange()
        async with bench(exchange) as it:
            it.trade_on("s0@trade")
            old = await exchange.link()
            await asyncio.sleep(40)
            exchange.refuse(5)
            it.lane.rotate("asked to")
            await until(lambda: it.state.failures == 5)
            assert not old.is_ended
            waits = exchange.waits[1:]
            assert waits == sorted(waits), "it backs off"
            await self.rotated(it)
            await asyncio.sleep(1)
            it.assert_nothing_lost()

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (ignore, "SUBSCRIBE not answered for 10.25 s"),
            (
                lambda link, message: link.tell({"code": 2, "msg": "Invalid request"}),
                "it was refused streams that the old one has",
            ),
            (
                lambda link, message: link.tell({"result": None, "id": message["id"]}),
                "the new connection delivers nothing",
            ),
            (lambda link, message: link.end(Closed(1008, "Too many")), "code 1008 Too many"),
        ],
        ids=["unanswered", "refused", "silent", "ended"],
    )
    async def test_a_new_one_that_is_no_good_leaves_the_old_one(
        self, answer: Callable[[FakeLink, dict[str, Any]], None], why: str
    ) -> None:
        exchange = FakeExchange()
        async with bench(exchange) as it:
            it.trade_on("s0@trade", "s1@trade")
            old = await exchange.link()
            await asyncio.sleep(5)
            exchange.on_message = answer
            it.lane.rotate("asked to")
            await until(lambda: it.state.failures == 1)
            assert it.state.last_end == why
            assert not old.is_ended
            exchange.on_message = acknowledge
            await self.rotated(it)
            await asyncio.sleep(1)
            it.assert_nothing_lost()

    async def test_the_old_one_dies_meanwhile(self) -> None:
        async with bench() as it:
            it.trade_on("s0@trade")
            old = await it.exchange.link()
            await asyncio.sleep(5)
            it.lane.rotate("asked to")
            new = await it.exchange.link(2)
            old.end(Closed(1006, ""))
            await asyncio.sleep(1)
            assert it.exchange.open_links == [new]
            await asyncio.sleep(60)
            assert it.state.connects == 2

    async def test_in_a_market_where_nothing_happens(self) -> None:
        async with bench() as it:
            await it.exchange.link()
            await asyncio.sleep(5)
            it.lane.rotate("asked to")
            await self.rotated(it)
            assert it.state.failures == 0

    async def test_a_handshake_that_never_ends_holds_nobody_up(self) -> None:
        exchange = FakeExchange()
        exchange.close_seconds = 5.0
        async with bench(exchange) as it:
            it.trade_on("s0@trade")
            await exchange.link()
            await asyncio.sleep(5)
            it.lane.rotate("asked to")
            new = await exchange.link(2)
            await until(lambda: it.state.rotations == 1)
            new.end(Closed(1006, ""))
            died = now()
            await exchange.link(3)
            assert now() - died <= 0.4
            await asyncio.sleep(10)


class TestStreams:
    """What a lane carries changes while it runs."""

    async def test_subscribed_and_unsubscribed_on_the_open_connection(self) -> None:
        async with bench() as it:
            link = await it.exchange.link()
            await asyncio.sleep(1)
            it.lane.carry(("s1@trade", "new@trade"))
            await asyncio.sleep(1)
            assert link.streams == {"s1@trade", "new@trade"}
            assert it.state.streams == 2
            assert it.state.connects == 1

    async def test_during_a_rotation_both_follow(self) -> None:
        async with bench() as it:
            it.trade_on("s0@trade", "s1@trade", "new@trade")
            await it.exchange.link()
            await asyncio.sleep(5)
            it.lane.rotate("asked to")
            await it.exchange.link(2)
            it.lane.carry(("s0@trade", "new@trade"))
            await asyncio.sleep(0.6)
            assert [link.streams for link in it.exchange.open_links] == [
                {"s0@trade", "new@trade"},
                {"s0@trade", "new@trade"},
            ]
            await until(lambda: it.state.rotations == 1)
            it.assert_nothing_lost()

    async def test_the_next_connection_carries_them_too(self) -> None:
        async with bench() as it:
            link = await it.exchange.link()
            it.lane.carry(("s1@trade", "new@trade"))
            link.end(Closed(1006, ""))
            second = await it.exchange.link(2)
            await asyncio.sleep(1)
            assert second.asked == [("SUBSCRIBE", ["s1@trade", "new@trade"])]


class TestLife:
    """Cancelling, mistakes of ours."""

    @pytest.mark.parametrize("seconds", [0, 0.001, 0.05, 5, 5.15, 5.5, 6.5, 6.9, 7.2])
    async def test_cancelled_at_any_time_nothing_is_left(self, seconds: float) -> None:
        exchange = FakeExchange()
        exchange.close_seconds = 1.0
        async with bench(exchange) as it:
            it.trade_on("s0@trade")
            if seconds >= 5:
                await asyncio.sleep(5)
                it.lane.rotate("asked to")
            await asyncio.sleep(seconds % 5)

    async def test_cancelled_while_backing_off(self) -> None:
        async with bench(FakeExchange(False)) as it:
            await until(lambda: it.state.failures == 1)

    async def test_a_mistake_of_ours_ends_it(self) -> None:
        async with bench() as it:
            link = await it.exchange.link()
            link.fail(ZeroDivisionError("a bug"))
            with pytest.raises(ZeroDivisionError):
                await it.running


@pytest.mark.parametrize("seed", range(8))
async def test_rotations_lose_nothing_however_late_messages_are(seed: int) -> None:
    """Messages reach each connection in order, up to 0.9 s late, each link at its own pace."""
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    due: dict[FakeLink, float] = defaultdict(float)

    def late(link: FakeLink, message: bytes) -> None:
        slowness = 0.05 if chance.random() < 0.8 else 0.9
        due[link] = max(due[link], now() + chance.uniform(0, slowness))
        loop.call_at(due[link], lambda: None if link.is_ended else link.deliver(message))

    def slow_acknowledge(link: FakeLink, message: dict[str, Any]) -> None:
        link.streams.update(message["params"])
        late(link, json.dumps({"result": None, "id": message["id"]}).encode())

    exchange = FakeExchange()
    exchange.on_message = slow_acknowledge
    exchange.close_seconds = 0.0
    streams = tuple(f"s{number}@trade" for number in range(20))

    async def market() -> None:
        while True:
            # Some streams are busy, some trade once in minutes.
            (stream,) = chance.choices(streams, [2.0**-number for number in range(20)])
            exchange.ids[stream] += 1
            for link in exchange.open_links:
                if stream in link.streams:
                    late(link, trade(stream, exchange.ids[stream]))
            await asyncio.sleep(chance.expovariate(50))

    async with bench(exchange, shard=Shard("trade-0", streams)) as it:
        it.market = asyncio.create_task(market())
        for number in range(1, 11):
            await asyncio.sleep(chance.uniform(0, 5))
            it.lane.rotate("asked to")
            await until(lambda number=number: it.state.rotations == number, seconds=60)  # type: ignore[misc]
        await asyncio.sleep(3)
        it.assert_nothing_lost()
        repeats = sum(len(ids) - len(set(ids)) for ids in it.ids.values())
        assert repeats > 0
        assert it.state.failures == 0
