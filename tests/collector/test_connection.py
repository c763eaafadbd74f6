"""One connection over a fake transport, on a loop whose clock jumps (see `virtual_time`)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from collector.buffer import MessageBuffer
from collector.connection import Connection, control_problem, is_server_shutdown
from collector.protocol import AttemptLimiter, Shard
from collector.transports import Closed, ConnectError, OnMessage

URL = "ws://exchange/stream"
SILENCE = 60.0


def now() -> float:
    return asyncio.get_running_loop().time()


class FakeLink:
    """An open connection that the test speaks for."""

    def __init__(self, on_message: OnMessage) -> None:
        self.deliver = on_message
        self.sent: list[tuple[float, str]] = []
        self.is_paused = False
        self._ended = asyncio.get_running_loop().create_future()

    async def send(self, text: str) -> None:
        self.sent.append((now(), text))

    async def read(self) -> Closed:
        return await asyncio.shield(self._ended)

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    async def close(self) -> None:
        self.end(Closed(1000, ""))

    def end(self, closed: Closed) -> None:
        if not self.is_ended:
            self._ended.set_result(closed)

    def fail(self, error: Exception) -> None:
        self._ended.set_exception(error)

    @property
    def is_ended(self) -> bool:
        return self._ended.done()


class FakeTransport:
    """Connects as the script says: True for a link, False for a refusal; links when it is over."""

    def __init__(self, *script: bool) -> None:
        self._script = list(script)
        self.attempts: list[float] = []
        self.urls: list[str] = []
        self.links: list[FakeLink] = []

    async def connect(self, url: str, on_message: OnMessage) -> FakeLink:
        self.attempts.append(now())
        self.urls.append(url)
        if self._script and not self._script.pop(0):
            raise ConnectError("OSError: nobody listens")
        self.links.append(FakeLink(on_message))
        return self.links[-1]

    @property
    def waits(self) -> list[float]:
        return [later - earlier for earlier, later in itertools.pairwise(self.attempts)]


class Bench:
    """A connection, its transport and what came out of its buffers."""

    def __init__(self, *script: bool, streams: int = 2, limiter: AttemptLimiter) -> None:
        self.transport = FakeTransport(*script)
        self.handed_over: list[list[bytes]] = []
        shard = Shard("trade-0", tuple(f"s{number}@trade" for number in range(streams)))
        self.subject = Connection(
            shard,
            URL,
            transport=self.transport,
            limiter=limiter,
            new_buffer=self._new_buffer,
            silence_seconds=SILENCE,
        )
        self.running = asyncio.create_task(self.subject.run())

    def _new_buffer(self) -> MessageBuffer:
        return MessageBuffer(
            lambda messages, _: self.handed_over.append(messages),
            max_messages=100,
            max_bytes=10**6,
            max_age=0.25,
        )

    async def link(self, number: int = 1) -> FakeLink:
        """Return the n-th connection that was made, once it is there."""
        await until(lambda: len(self.transport.links) >= number)
        await asyncio.sleep(0.001)  # it has begun to read
        return self.transport.links[number - 1]


async def until(condition: Callable[[], bool], seconds: float = 3600) -> None:
    end = now() + seconds
    while not condition():
        assert now() < end, f"waited {seconds} s of the loop's time in vain"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def bench(
    *script: bool, streams: int = 2, limiter: AttemptLimiter | None = None
) -> AsyncIterator[Bench]:
    it = Bench(*script, streams=streams, limiter=limiter or AttemptLimiter())
    try:
        yield it
    finally:
        it.running.cancel()
        await asyncio.gather(it.running, return_exceptions=True)


async def test_subscribes_in_order_and_within_the_message_limit() -> None:
    async with bench(streams=450) as it:
        link = await it.link()
        await until(lambda: len(link.sent) == 3)
        times, texts = zip(*link.sent, strict=True)
        subscribed = [json.loads(text) for text in texts]
        assert [message["id"] for message in subscribed] == [1, 2, 3]
        names = [name for message in subscribed for name in message["params"]]
        assert names == list(it.subject.shard.streams)
        assert [round(time - times[0], 3) for time in times] == [0, 0.25, 0.5]
        assert it.transport.urls == [URL]
        assert it.subject.state.is_open


async def test_messages_reach_the_buffer_and_its_owner() -> None:
    async with bench() as it:
        link = await it.link()
        link.deliver(b"a")
        link.deliver(b"b")
        await until(lambda: it.handed_over == [[b"a", b"b"]], seconds=1)


async def test_reconnects_after_the_end_and_subscribes_again() -> None:
    async with bench() as it:
        first = await it.link()
        first.deliver(b"last words")
        ended = now()
        first.end(Closed(1008, "Pong timeout"))
        second = await it.link(2)
        assert it.handed_over == [[b"last words"]]
        assert [text for _, text in second.sent] == [text for _, text in first.sent]
        state = it.subject.state
        assert (state.connects, state.failures, state.is_open) == (2, 0, True)
        assert state.last_end == "code 1008 Pong timeout"
        assert 0.1 <= it.transport.attempts[1] - ended <= 0.2


async def test_a_refusal_counts_and_names_its_cause() -> None:
    async with bench(False, True) as it:
        await it.link()
        state = it.subject.state
        assert (state.connects, state.failures) == (1, 1)
        assert state.last_end == "OSError: nobody listens"


async def test_backs_off_to_a_cap() -> None:
    async with bench(*[False] * 12) as it:
        await it.link()
        limits = [min(0.2 * 2**number, 30) for number in range(12)]
        for wait, limit in zip(it.transport.waits, limits, strict=True):
            assert limit / 2 <= wait <= limit
        assert sum(it.transport.waits[-3:]) >= 45


async def test_a_long_life_makes_the_next_wait_short() -> None:
    async with bench(*[False] * 8) as it:
        link = await it.link()
        await asyncio.sleep(31)
        ended = now()
        link.end(Closed(1001, ""))
        await it.link(2)
        assert it.transport.attempts[-1] - ended <= 0.21


async def test_a_short_life_keeps_backing_off() -> None:
    async with bench(*[False] * 8) as it:
        link = await it.link()
        link.end(Closed(1001, ""))
        await it.link(2)
        assert it.transport.waits[-1] >= 15


async def test_keeps_to_the_limit_of_attempts() -> None:
    async with bench(False, False, False, limiter=AttemptLimiter(limit=2, window=300)) as it:
        await it.link()
        first, _, third, fourth = it.transport.attempts
        assert third - first == pytest.approx(300)
        assert fourth - first >= 300


async def test_silence_makes_the_connection_anew() -> None:
    async with bench() as it:
        link = await it.link()
        opened = now()
        await until(lambda: link.is_ended)
        assert now() - opened == pytest.approx(SILENCE, abs=2)
        await it.link(2)
        assert it.subject.state.last_end == "silent for 60.0 s"


async def test_messages_break_the_silence() -> None:
    async with bench() as it:
        link = await it.link()
        for _ in range(20):
            await asyncio.sleep(SILENCE - 5)
            link.deliver(b"a")
        assert not link.is_ended
        assert it.subject.state.connects == 1


async def test_a_pause_is_no_silence() -> None:
    async with bench() as it:
        link = await it.link()
        it.subject.pause()
        assert link.is_paused
        await asyncio.sleep(10 * SILENCE)
        it.subject.resume()
        assert not link.is_paused
        await asyncio.sleep(SILENCE - 5)
        assert not link.is_ended, "the exchange gets time to speak after a pause"
        await until(lambda: link.is_ended, seconds=10)


async def test_pausing_before_the_connection_is_made_holds_it_back() -> None:
    async with bench(False) as it:
        await until(lambda: it.subject.state.failures == 1)
        it.subject.pause()
        link = await it.link()
        assert link.is_paused
        assert link.sent, "it subscribes all the same"
        it.subject.resume()
        assert not link.is_paused


async def test_reconnect_ends_the_connection() -> None:
    async with bench() as it:
        first = await it.link()
        await it.subject.reconnect("serverShutdown")
        assert first.is_ended
        await it.link(2)
        assert it.subject.state.connects == 2


async def test_reconnect_without_a_connection_does_nothing() -> None:
    async with bench(False) as it:
        await until(lambda: it.subject.state.failures == 1)
        await it.subject.reconnect("serverShutdown")
        await it.link()


async def test_cancelling_closes_the_link_and_hands_over_what_is_there() -> None:
    async with bench() as it:
        link = await it.link()
        link.deliver(b"a")
        it.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await it.running
        assert link.is_ended
        assert it.handed_over == [[b"a"]]
        assert not it.subject.state.is_open


async def _at_once(it: Bench) -> None:
    it.running.cancel()


async def _while_backing_off(it: Bench) -> None:
    await until(lambda: it.subject.state.failures == 1)
    it.running.cancel()


@pytest.mark.parametrize("cancel", [_at_once, _while_backing_off])
async def test_cancelling_between_connections(cancel: Callable[[Bench], Awaitable[None]]) -> None:
    async with bench(False) as it:
        await cancel(it)
        with pytest.raises(asyncio.CancelledError):
            await it.running
        assert it.transport.links == []


async def test_a_mistake_of_ours_is_no_end_of_a_connection() -> None:
    async with bench() as it:
        link = await it.link()
        link.fail(ZeroDivisionError("a bug"))
        with pytest.raises(ZeroDivisionError):
            await it.running


@pytest.mark.parametrize(
    ("control", "problem"),
    [
        ({"code": 2, "msg": "Invalid request"}, "2: Invalid request"),
        ({"code": 0, "msg": "Unknown property", "id": 7}, "0: Unknown property"),
        ({"result": None, "id": 1}, None),
        ({"result": ["btcusdt@trade"], "id": 1}, None),
        ({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}, None),
    ],
)
def test_control_problem(control: dict[str, object], problem: str | None) -> None:
    assert control_problem(control) == problem


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ({"e": "serverShutdown", "E": 1}, True),
        ({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}, True),
        ({"result": None, "id": 1}, False),
        ({"data": [1]}, False),
        ({"e": "trade"}, False),
    ],
)
def test_is_server_shutdown(control: dict[str, object], expected: bool) -> None:
    assert is_server_shutdown(control) is expected
