"""Subscriptions: what one connection was asked to carry, and what the exchange said; no I/O.

Source: binance-protocol, section 1 (control messages).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from collector.protocol import batches, control_message, control_problem

SUBSCRIBE: Final = "SUBSCRIBE"
UNSUBSCRIBE: Final = "UNSUBSCRIBE"


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error reply: what the exchange said, and of which streams."""

    problem: str
    method: str = ""
    streams: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.streams:
            return self.problem
        shown = ", ".join(self.streams[:5])
        more = f" and {len(self.streams) - 5} more" if len(self.streams) > 5 else ""
        return f"{self.problem}, to {self.method} of {shown}{more}"


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    streams: tuple[str, ...]
    sent_at: float = 0.0


class Subscriptions:
    """The control messages of one connection, each of them followed until it is answered.

    A refused batch is asked for again in halves, so that one odd name costs no other.

    Args:
        reply_seconds: how long the exchange may take to answer.

    Attributes:
        active: streams that the exchange has acknowledged.
        refused: streams that it refused one by one.
    """

    def __init__(self, reply_seconds: float) -> None:
        self.active: set[str] = set()
        self.refused: set[str] = set()
        self._reply_seconds = reply_seconds
        self._wanted: dict[str, None] = {}
        self._queue: deque[_Request] = deque()
        self._sent: dict[int, _Request] = {}
        self._next_id = 1

    @property
    def has_next(self) -> bool:
        """Whether there is something to send."""
        return bool(self._queue)

    @property
    def is_settled(self) -> bool:
        """Whether everything was sent and answered."""
        return not self._queue and not self._sent

    def want(self, streams: Collection[str]) -> None:
        """Ask for exactly these streams: queue what it takes to get there."""
        wanted = dict.fromkeys(streams)
        gone = [stream for stream in self._wanted if stream not in wanted]
        new = [stream for stream in wanted if stream not in self._wanted]
        self._queue += [_Request(UNSUBSCRIBE, batch) for batch in batches(gone)]
        self._queue += [_Request(SUBSCRIBE, batch) for batch in batches(new)]
        self._wanted = wanted
        self.refused.difference_update(gone)

    def next_message(self, now: float) -> str:
        """Return the next message to send, at most one in `SECONDS_BETWEEN_MESSAGES`.

        Raises:
            IndexError: there is none.
        """
        request = self._queue.popleft()
        number, self._next_id = self._next_id, self._next_id + 1
        self._sent[number] = _Request(request.method, request.streams, now)
        return control_message(request.method, request.streams, number)

    def take_reply(self, control: dict[str, Any]) -> Complaint | None:
        """Take a control message; returns what the exchange complains of.

        Most error replies carry no id; replies come in order, so they mean the oldest request.
        """
        problem = control_problem(control)
        number = control.get("id")
        if not isinstance(number, int) or number not in self._sent:
            if problem is None:
                return None
            number = next(iter(self._sent), None)
            if number is None:
                return Complaint(problem)
        request = self._sent.pop(number)
        if problem is None:
            self._settle(request)
            return None
        self._refuse(request)
        return Complaint(problem, request.method, request.streams)

    def overdue(self, now: float) -> str | None:
        """Return what has waited too long for its answer."""
        request = next(iter(self._sent.values()), None)
        if request is None or now - request.sent_at < self._reply_seconds:
            return None
        return f"{request.method} not answered for {self._reply_seconds:g} s"

    def _settle(self, request: _Request) -> None:
        if request.method == SUBSCRIBE:
            self.active.update(request.streams)
        else:
            self.active.difference_update(request.streams)

    def _refuse(self, request: _Request) -> None:
        if len(request.streams) > 1:
            half = len(request.streams) // 2
            for streams in (request.streams[:half], request.streams[half:]):
                self._queue.append(_Request(request.method, streams))
        elif request.method == SUBSCRIBE:
            self.refused.update(request.streams)
