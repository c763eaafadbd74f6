"""Back-off: how long to wait before the next attempt, as a generator."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoff(
    chance: random.Random, *, first: float = 0.2, factor: float = 2.0, cap: float = 30.0
) -> Iterator[float]:
    """Yield waiting times in seconds: exponential, capped, jittered over their upper half.

    Start a new one after a success; that is the reset. The jitter keeps a fleet of connections
    that was cut at once from coming back at once.
    """
    limit = first
    while True:
        yield limit * (0.5 + chance.random() / 2)
        limit = min(limit * factor, cap)
