"""Binance's websocket protocol, without I/O: what to subscribe where, and how fast.

Source of the limits: binance-protocol, section 1.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MAX_STREAMS_PER_CONNECTION: Final = 1024
MAX_ATTEMPTS: Final = 300
ATTEMPTS_WINDOW_SECONDS: Final = 300.0
# Binance takes five messages a second on a connection and counts our pongs among them.
SECONDS_BETWEEN_MESSAGES: Final = 0.25
# Undocumented; 200 names of 20 characters keep a message near 4 KB.
STREAMS_PER_SUBSCRIBE: Final = 200
# Channels whose ids are consecutive by symbol, so that a missing one is a loss (binance-protocol,
# sections 2 and 6: on futures trade ids have holes). Update ids of bookTicker only grow, klines
# have none.
CONSECUTIVE_IDS: Final = {
    "spot": frozenset(("trade", "aggTrade")),
    "usdm": frozenset(("aggTrade",)),
}


@dataclass(frozen=True, slots=True)
class Shard:
    """The streams of one connection.

    A connection carries one kind of stream, so that its frames need no sorting by channel.
    """

    name: str
    streams: tuple[str, ...]

    @property
    def channel(self) -> str:
        """Stream suffix of all its streams, such as trade or kline_1m."""
        return self.name.rpartition("-")[0]

    @property
    def number(self) -> int:
        """Number among the shards of its channel."""
        return int(self.name.rpartition("-")[2])


def plan_shards(
    symbols: Iterable[str],
    channels: Iterable[str],
    streams_per_connection: int,
    shards: Sequence[Shard] = (),
) -> list[Shard]:
    """Spread symbols x channels over connections.

    A stream stays where it is. New ones go where there is room, then to new shards, whose names
    were not in use; a shard that has lost all its streams is left out.

    Args:
        symbols: symbols as Binance spells them.
        channels: stream suffixes such as trade or kline_1m.
        streams_per_connection: how many streams a connection takes, at most 1,024.
        shards: the shards so far.
    """
    names = [symbol.lower() for symbol in symbols]
    return [
        shard
        for channel in channels
        for shard in _plan_channel(
            channel,
            [f"{name}@{channel}" for name in names],
            streams_per_connection,
            [shard for shard in shards if shard.channel == channel],
        )
    ]


def _plan_channel(
    channel: str, streams: Sequence[str], size: int, shards: Sequence[Shard]
) -> Iterator[Shard]:
    """Yield the shards of one channel: those that keep a stream, then new ones."""
    wanted = set(streams)
    carried = {stream for shard in shards for stream in shard.streams}
    new = deque(stream for stream in streams if stream not in carried)
    for shard in shards:
        kept = [stream for stream in shard.streams if stream in wanted]
        while kept and new and len(kept) < size:
            kept.append(new.popleft())
        if kept:
            yield Shard(shard.name, tuple(kept))
    number = max((shard.number for shard in shards), default=-1)
    while new:
        number += 1
        taken = tuple(new.popleft() for _ in range(min(size, len(new))))
        yield Shard(f"{channel}-{number}", taken)


def batches(streams: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the streams in parts that a control message takes."""
    for start in range(0, len(streams), STREAMS_PER_SUBSCRIBE):
        yield tuple(streams[start : start + STREAMS_PER_SUBSCRIBE])


def control_message(method: str, streams: Sequence[str], number: int) -> str:
    """Return a SUBSCRIBE or UNSUBSCRIBE message with its id."""
    message = {"method": method, "params": list(streams), "id": number}
    return json.dumps(message, ensure_ascii=False)


def control_problem(control: dict[str, Any]) -> str | None:
    """Return the exchange's complaint in a control message, None when it has none.

    Source: binance-protocol, section 1 (error frames).
    """
    if "code" in control and "msg" in control:
        return f"{control['code']}: {control['msg']}"
    return None


def is_server_shutdown(control: dict[str, Any]) -> bool:
    """Tell whether the server announces its end, in the raw or the combined form."""
    data = control.get("data", control)
    return isinstance(data, dict) and data.get("e") == "serverShutdown"


@dataclass(slots=True)
class AttemptLimiter:
    """Keeps connection attempts within Binance's 300 in 5 minutes an address.

    Attributes:
        limit: attempts allowed in the window.
        window: length of the window in seconds.
    """

    limit: int = MAX_ATTEMPTS
    window: float = ATTEMPTS_WINDOW_SECONDS
    _attempts: deque[float] = field(default_factory=deque)

    def reserve(self, now: float) -> float:
        """Book the next attempt and return how many seconds to wait before it.

        Args:
            now: a monotonic time in seconds.
        """
        while self._attempts and self._attempts[0] <= now - self.window:
            self._attempts.popleft()
        if len(self._attempts) < self.limit:
            due = now
        else:
            due = max(now, self._attempts[-self.limit] + self.window)
        self._attempts.append(due)
        return due - now
