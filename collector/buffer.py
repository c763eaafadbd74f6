"""The hot path: a message is stamped, kept, and sealed with its neighbours by size or by age."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class MessageBuffer:
    """Collects the messages of one connection until a frame is full or old enough.

    Everything costs per message what two list appends cost; the work is done a frame at a time.

    Args:
        on_full: takes the messages and their receive times (ns since 1970), in order.
        max_messages: hands over at so many messages.
        max_bytes: hands over at so many bytes.
        max_age: hands over when the first message is so many seconds old.
        now_ns: receive clock, ns since 1970.
    """

    __slots__ = (
        "_loop",
        "_max_age",
        "_max_bytes",
        "_max_messages",
        "_messages",
        "_now_ns",
        "_on_full",
        "_room",
        "_timer",
        "_times",
        "last_received",
    )

    def __init__(
        self,
        on_full: Callable[[list[bytes], list[int]], None],
        *,
        max_messages: int,
        max_bytes: int,
        max_age: float,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._on_full = on_full
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._now_ns = now_ns
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._start()
        self.last_received = self._loop.time()

    def append(self, message: bytes) -> None:
        """Take a message as it was received."""
        self._times.append(self._now_ns())
        self._messages.append(message)
        self._room -= len(message)
        if self._room <= 0 or len(self._times) >= self._max_messages:
            self._look()

    def flush(self) -> None:
        """Hand over what is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._messages:
            return
        self.last_received = self._loop.time()
        messages, times = self._messages, self._times
        self._start()
        self._on_full(messages, times)

    def _look(self) -> None:
        """Start the clock with the first message; hand over when there is no more room."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._max_age, self.flush)
            self._room += self._max_bytes
        if self._room <= 0 or len(self._times) >= self._max_messages:
            self.flush()

    def _start(self) -> None:
        """Begin with nothing, and no room until the clock runs."""
        self._messages: list[bytes] = []
        self._times: list[int] = []
        self._room = 0
