"""A lane keeps the streams of one shard flowing: one connection, and two while it is replaced.

A connection is replaced when it gets old, is silent, was told that the server shuts down, or was
asked something and got no answer. The new one delivers before the old one closes (the rule is in
`collector.handover`). When the new one fails, the old one stays, and the next attempt waits longer.
A connection that ends by itself is made anew at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from collector.backoff import backoff
from collector.buffer import MessageBuffer
from collector.connection import Connection, Endpoint
from collector.handover import Handover, Verdict, read_runs
from collector.protocol import AttemptLimiter, Shard
from collector.transports import ConnectError

log = logging.getLogger(__name__)

# A connection that lived so long was a success: the next back-off starts anew.
_STABLE_SECONDS: Final = 30.0
# How much later than another connection one may deliver the same message.
_SKEW_SECONDS: Final = 1.0
# How long two connections are compared, and how long their streams may take to join.
_WATCH_SECONDS: Final = 0.25
_JOIN_SECONDS: Final = 10.0
# How often a lane looks after its connections; news wakes it at once.
_LOOK_SECONDS: Final = 1.0
_HANDOVER_LOOK_SECONDS: Final = 0.05
# A life has at least this part of its greatest length, by chance: rotations drift apart.
_SHORTEST_LIFE: Final = 0.8

OnFull = Callable[[Connection, list[bytes], list[int]], None]


@dataclass(slots=True)
class LaneState:
    """What a lane is doing, for /healthz and metrics.

    Attributes:
        is_open: whether a connection is open.
        connects: connections made.
        failures: connections that failed to open, or to take over.
        rotations: connections that were replaced before they ended.
        streams: streams that the exchange has acknowledged.
        refused: streams that it refused.
        last_end: why the last connection ended or was replaced.
    """

    is_open: bool = False
    connects: int = 0
    failures: int = 0
    rotations: int = 0
    streams: int = 0
    refused: int = 0
    last_end: str = ""


class Queue:
    """Lets one lane after the other replace its connection: never two at once because of age."""

    def __init__(self) -> None:
        self._waiting: list[Lane] = []

    def is_turn(self, lane: Lane) -> bool:
        """Line up, and tell whether it is the lane's turn; it has to leave afterwards."""
        if lane not in self._waiting:
            self._waiting.append(lane)
        return self._waiting[0] is lane

    def leave(self, lane: Lane) -> None:
        """Let the next one have its turn."""
        if lane in self._waiting:
            self._waiting.remove(lane)


@dataclass(frozen=True, slots=True)
class LaneOptions:
    """What all lanes have in common.

    Attributes:
        endpoint: where to connect.
        limiter: keeps the attempts of all lanes within the exchange's limit.
        queue: the lanes whose connections are old.
        rotate_seconds: longest life of a connection.
        numbers: numbers for the names of connections, so that none is used again.
        new_buffer: makes a buffer that hands over to the given callback.
        on_full: takes the messages of a connection and their receive times (ns since 1970).
        chance: where the jitter comes from.
    """

    endpoint: Endpoint
    limiter: AttemptLimiter
    queue: Queue
    rotate_seconds: float
    numbers: Iterator[int]
    new_buffer: Callable[[Callable[[list[bytes], list[int]], None]], MessageBuffer]
    on_full: OnFull
    chance: random.Random = field(default_factory=random.SystemRandom)


class Lane:
    """Keeps one shard's streams flowing until it is cancelled.

    Args:
        shard: the streams.
        options: what all lanes have in common.

    Attributes:
        shard: the streams, as they were last told.
    """

    def __init__(self, shard: Shard, options: LaneOptions) -> None:
        self.shard = shard
        self._options = options
        self._state = LaneState()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._living: list[Connection] = []
        self._closing: list[Connection] = []
        self._current: Connection | None = None
        self._life = 0.0
        self._waits = backoff(options.chance)
        self._asked_why = ""
        self._handover: tuple[Handover, Connection] | None = None
        self._overlap_until = 0.0

    @property
    def state(self) -> LaneState:
        """What the lane is doing now."""
        current = self._current
        if current is None or not current.is_open:
            return dataclasses.replace(self._state, is_open=False)
        subscriptions = current.subscriptions
        return dataclasses.replace(
            self._state,
            is_open=True,
            streams=len(subscriptions.active),
            refused=len(subscriptions.refused),
        )

    async def run(self) -> None:
        """Keep a connection that carries the shard's streams, for ever."""
        is_done = True
        try:
            while True:
                why = await self._reason()
                if is_done:
                    self._state.last_end = why
                    if self._age() > _STABLE_SECONDS:
                        self._waits = backoff(self._options.chance)
                is_done = await self._renew(why)
                self._options.queue.leave(self)
        finally:
            self._options.queue.leave(self)
            for connection in self._living:
                if connection not in self._closing:
                    self._close(connection)
            tasks = [connection.task for connection in self._closing]
            await asyncio.gather(*tasks, return_exceptions=True)
            self._reap()

    def rotate(self, why: str) -> None:
        """Have the connection replaced."""
        self._asked_why = why
        self._news.set()

    def carry(self, streams: tuple[str, ...]) -> None:
        """Carry these streams from now on; the connection stays."""
        self.shard = Shard(self.shard.name, streams)
        for connection in self._living:
            connection.want(streams)

    async def _reason(self) -> str:
        """Wait until there has to be another connection, and return why; "" at the start."""
        current = self._current
        if current is None:
            return self._state.last_end
        while not current.task.done():
            why = self._asked_why or current.trouble()
            if why is None and self._age() >= self._life and self._options.queue.is_turn(self):
                why = "it is old"
            if why:
                return why
            await self._rest(_LOOK_SECONDS)
        return _end_of(current)

    async def _renew(self, why: str) -> bool:
        """Make a connection and let it take over; returns whether it did."""
        if why:
            wait = next(self._waits)
            log.warning("connection %s: %s; next in %.1f s", self.shard.name, why, wait)
            await asyncio.sleep(wait)
        await asyncio.sleep(self._options.limiter.reserve(self._loop.time()))
        self._reap()
        new = self._open()
        while new.opened_at is None and not new.task.done():
            await self._rest(_LOOK_SECONDS)
        if new.opened_at is None:
            return self._fail(new, _end_of(new))
        self._state.connects += 1
        old = self._current
        if old is not None and not old.task.done():
            problem = await self._hand_over(old, new)
            if problem is not None:
                return self._fail(new, problem)
            self._state.rotations += 1
            self._waits = backoff(self._options.chance)
            self._close(old)
        self._current = new
        self._life = self._options.rotate_seconds * self._options.chance.uniform(_SHORTEST_LIFE, 1)
        self._asked_why = ""
        log.info("connection %s carries %d streams", new.name, len(self.shard.streams))
        return True

    async def _hand_over(self, old: Connection, new: Connection) -> str | None:
        """Wait until the old connection may close; returns why the new one is no good."""
        frame_seconds = self._options.endpoint.frame_seconds
        handover = Handover(
            skew=_SKEW_SECONDS + frame_seconds,
            watch=_WATCH_SECONDS + frame_seconds,
            limit=_JOIN_SECONDS + 3 * frame_seconds,
        )
        self._handover = handover, new
        try:
            while not old.task.done():
                now = self._loop.time()
                if new.task.done():
                    return _end_of(new)
                overdue = new.subscriptions.overdue(now)
                if overdue is not None:
                    return overdue
                if new.subscriptions.refused - old.subscriptions.refused:
                    return "it was refused streams that the old one has"
                if new.subscriptions.is_settled:
                    handover.acknowledge(now)
                verdict = handover.verdict(now)
                if verdict is Verdict.FAILED:
                    return str(verdict.value)
                if verdict is Verdict.TAKEN:
                    log.warning("%s has not joined: %s", new.name, handover.missing()[:5])
                if verdict is not Verdict.WAIT:
                    return None
                await self._rest(_HANDOVER_LOOK_SECONDS)
            return None
        finally:
            self._handover = None

    def _open(self) -> Connection:
        """Begin the life of a connection; `_living` has it until its end."""
        options = self._options
        connection = Connection(
            f"{self.shard.name}#{next(options.numbers)}",
            options.endpoint,
            self.shard.streams,
            new_buffer=lambda it: options.new_buffer(functools.partial(self._on_full, it)),
            overlaps=self._overlaps,
            on_news=self._news.set,
        )
        self._living.append(connection)
        connection.task = asyncio.create_task(self._live(connection), name=connection.name)
        return connection

    async def _live(self, connection: Connection) -> str:
        try:
            return await connection.run()
        finally:
            self._living.remove(connection)
            if any(other.is_open for other in self._living):
                # What the other one delivers next may still be a repeat.
                late = _SKEW_SECONDS + self._options.endpoint.frame_seconds
                self._overlap_until = self._loop.time() + late
            self._news.set()

    def _fail(self, connection: Connection, why: str) -> bool:
        """Give up a new connection; returns that it did not take over."""
        self._state.failures += 1
        self._state.last_end = why
        log.warning("connection %s failed: %s", connection.name, why)
        self._close(connection)
        return False

    def _close(self, connection: Connection) -> None:
        """Begin to close, which nobody waits for: it has a limit of its own."""
        connection.task.cancel()
        self._closing.append(connection)

    def _reap(self) -> None:
        """Forget what has closed.

        Raises:
            Exception: it ended by a mistake of ours.
        """
        for connection in [each for each in self._closing if each.task.done()]:
            self._closing.remove(connection)
            with contextlib.suppress(asyncio.CancelledError):
                _end_of(connection)

    def _on_full(self, connection: Connection, messages: list[bytes], times_ns: list[int]) -> None:
        if self._handover is not None:
            handover, new = self._handover
            runs = read_runs(self.shard.channel, messages)
            deliver = handover.deliver_new if connection is new else handover.deliver_old
            deliver(runs, self._loop.time())
        self._options.on_full(connection, messages, times_ns)

    def _overlaps(self) -> bool:
        is_open = [connection for connection in self._living if connection.is_open]
        return len(is_open) > 1 or self._loop.time() < self._overlap_until

    def _age(self) -> float:
        """Return for how long the connection has been open, in seconds."""
        if self._current is None or self._current.opened_at is None:
            return 0.0
        return self._loop.time() - self._current.opened_at

    async def _rest(self, seconds: float) -> None:
        """Wait so long, or until there is news of a connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()


def _end_of(connection: Connection) -> str:
    """Return how a connection ended.

    Raises:
        Exception: by a mistake of ours.
    """
    try:
        return connection.task.result()
    except ConnectError as error:
        return str(error)
