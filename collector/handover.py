"""Handover: when the old one of two connections that carry the same streams may close; no I/O.

Once the exchange has acknowledged the subscriptions of the new connection, it sends every message
to both. What it sent before reaches the old one within `skew` seconds, which therefore stays open
for that long: nothing is lost. The rest of the rule makes sure that it is so, over a short while:

* a stream that the new one delivers has joined when the old one has delivered at least up to the
  id before its first one; without ids, when the old one has delivered too;
* a stream that the old one delivers has joined when the new one has delivered it too.

A stream on which nothing happens has nothing to lose. A new connection is taken as it is when the
old one has gone silent, and after `limit` seconds if it delivers at all; a hole would show in the
ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

# First and last id by stream in some messages; None for messages without ids.
Runs = Mapping[str, tuple[int, int] | None]


# How a message of a channel shows its stream and its id.
_MESSAGE: Final = rb'\{"stream":"([^"]*)","data":\{.*?"%s":(\d+)'
_WITH_ID: Final = {
    channel: re.compile(_MESSAGE % key)
    for channel, key in (("trade", b"t"), ("aggTrade", b"a"), ("bookTicker", b"u"))
}
_WITHOUT_ID: Final = re.compile(rb'\{"stream":"([^"]*)"')


class Verdict(Enum):
    """What to do with the two connections."""

    WAIT = "wait"
    JOINED = "joined"
    TAKEN = "taken as it is"
    FAILED = "the new connection delivers nothing"


class Handover:
    """Watches two connections. All times are seconds of one clock; time is an argument.

    Args:
        skew: how much later than the other a connection may deliver and hand over a message.
        watch: how long after that both are compared.
        limit: how long after the acknowledgement streams may take to join.
    """

    def __init__(self, *, skew: float, watch: float, limit: float) -> None:
        self._skew = skew
        self._watch = watch
        self._limit = limit
        self._acknowledged_at: float | None = None
        self._old_last: dict[str, int | None] = {}
        self._new_first: dict[str, int | None] = {}
        self._to_join: set[str] = set()

    def acknowledge(self, now: float) -> None:
        """Note that the exchange has acknowledged all subscriptions of the new connection."""
        if self._acknowledged_at is None:
            self._acknowledged_at = now

    def deliver_old(self, runs: Runs, now: float) -> None:
        """Note what the old connection delivered."""
        for stream, run in runs.items():
            self._old_last[stream] = run and max(run[1], self._old_last.get(stream) or 0)
        start = self._start
        if start is not None and start <= now < start + self._watch:
            self._to_join.update(runs)

    def deliver_new(self, runs: Runs, now: float) -> None:
        """Note what the new connection delivered."""
        for stream, run in runs.items():
            self._new_first.setdefault(stream, run and run[0])
        start = self._start
        if start is None or now < start + self._watch:
            self._to_join.update(runs)

    def verdict(self, now: float) -> Verdict:
        """Tell whether the old connection may close."""
        if self._acknowledged_at is None or now < self._acknowledged_at + self._skew + self._watch:
            return Verdict.WAIT
        if self._new_first and not self.missing():
            return Verdict.JOINED
        if self._new_first and not self._old_last:
            return Verdict.TAKEN
        if now < self._acknowledged_at + self._limit:
            return Verdict.WAIT
        return Verdict.TAKEN if self._new_first or not self._to_join else Verdict.FAILED

    def missing(self) -> list[str]:
        """Return the streams that should have joined and have not."""
        return [stream for stream in sorted(self._to_join) if not self._has_joined(stream)]

    @property
    def _start(self) -> float | None:
        """When the old one begins to hand over only what was sent to both."""
        if self._acknowledged_at is None:
            return None
        return self._acknowledged_at + self._skew

    def _has_joined(self, stream: str) -> bool:
        if stream not in self._new_first or stream not in self._old_last:
            return False
        first, last = self._new_first[stream], self._old_last[stream]
        return first is None or last is None or last >= first - 1


def read_runs(channel: str, messages: Sequence[bytes]) -> Runs:
    """Return the first and last id by stream; messages of another shape are left out."""
    pattern = _WITH_ID.get(channel, _WITHOUT_ID)
    runs: dict[str, tuple[int, int] | None] = {}
    for message in messages:
        match = pattern.match(message)
        if match is None:
            continue
        stream = match[1].decode("utf-8", "replace")
        if pattern is _WITHOUT_ID:
            runs[stream] = None
        else:
            number = int(match[2])
            first, last = runs.get(stream) or (number, number)
            runs[stream] = min(first, number), max(last, number)
    return runs
