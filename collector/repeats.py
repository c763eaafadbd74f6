"""Repeats: while two connections carry the same streams, each message is kept once. Pure.

A message is dropped when the same bytes came over another connection; of trades and aggregate
trades the time at which the exchange sent them may differ. An id that comes with another price is
kept, and found downstream. So is any repeat that is not recognised here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collector.runs import ENVELOPE

# Some 30 MB. Overlaps are seconds long; of longer ones the older half is forgotten.
MAX_KNOWN: Final = 100_000
# What came over an overlap's last message so long ago does not come again.
_FORGET_NS: Final = 10_000_000_000
_EVENT_TIME: Final = b'"E":'
# Messages that are told by an id of their own; the event time may be the server's.
_WITH_ID: Final = (b'{"e":"trade",', b'{"e":"aggTrade",')
# Each connection gets the server's notice, and means itself by it.
_NOTICE: Final = ENVELOPE + b"!serverShutdown"


class Repeats:
    """Remembers messages while connections overlap."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        self._last_ns = 0

    def fresh(
        self, connection: str, messages: list[bytes], times_ns: list[int]
    ) -> tuple[list[bytes], list[int]]:
        """Return the messages that no other connection has delivered, with their times.

        Args:
            connection: what the messages came over.
            messages: the messages, in order of arrival.
            times_ns: receive time of each, ns since 1970.
        """
        known = self._known
        self._last_ns = times_ns[-1]
        chosen = [
            number
            for number, message in enumerate(messages)
            if not message.startswith(ENVELOPE)
            or message.startswith(_NOTICE)
            or known.setdefault(_identity(message), connection) == connection
        ]
        if len(known) > MAX_KNOWN:
            for identity in list(known)[: len(known) - MAX_KNOWN // 2]:
                del known[identity]
        if len(chosen) == len(messages):
            return messages, times_ns
        return [messages[number] for number in chosen], [times_ns[number] for number in chosen]

    def forget(self, times_ns: Sequence[int]) -> None:
        """Forget what is too old at these times."""
        if self._known and times_ns[-1] > self._last_ns + _FORGET_NS:
            self._known.clear()


def _identity(message: bytes) -> bytes:
    """Return a message, without its event time where it has an id of its own."""
    before, _, behind = message.partition(_EVENT_TIME)
    return before + behind.partition(b",")[2] if before.endswith(_WITH_ID) else message
