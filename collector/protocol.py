"""Binance's websocket protocol, without I/O: what to subscribe where, and how fast.

Source of the limits: binance-protocol, section 1.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_STREAMS_PER_CONNECTION: Final = 1024
MAX_ATTEMPTS: Final = 300
ATTEMPTS_WINDOW_SECONDS: Final = 300.0
# Binance takes five messages a second on a connection and counts our pongs among them.
SECONDS_BETWEEN_MESSAGES: Final = 0.25
# Undocumented; 200 names of 20 characters keep a message near 4 KB.
STREAMS_PER_SUBSCRIBE: Final = 200


@dataclass(frozen=True, slots=True)
class Shard:
    """The streams of one connection.

    A connection carries one kind of stream, so that its frames need no sorting by channel.
    """

    name: str
    streams: tuple[str, ...]


def plan_shards(
    symbols: Iterable[str], channels: Iterable[str], streams_per_connection: int
) -> list[Shard]:
    """Spread symbols x channels over connections.

    Args:
        symbols: symbols as Binance spells them.
        channels: stream suffixes such as trade or kline_1m.
        streams_per_connection: how many streams a connection takes, at most 1,024.
    """
    names = [symbol.lower() for symbol in symbols]
    return [
        Shard(
            f"{channel}-{number}",
            tuple(f"{name}@{channel}" for name in names[start : start + streams_per_connection]),
        )
        for channel in channels
        for number, start in enumerate(range(0, len(names), streams_per_connection))
    ]


def subscribe_messages(streams: tuple[str, ...]) -> Iterator[str]:
    """Yield the SUBSCRIBE messages of a connection, with ids from 1."""
    starts = range(0, len(streams), STREAMS_PER_SUBSCRIBE)
    for number, start in enumerate(starts, start=1):
        params = list(streams[start : start + STREAMS_PER_SUBSCRIBE])
        yield json.dumps(
            {"method": "SUBSCRIBE", "params": params, "id": number}, ensure_ascii=False
        )


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
