"""One connection, from its opening to its end: subscribe, read, and tell when something is wrong.

A connection knows nothing of the others. `collector.lane` decides when one is replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from collector.buffer import MessageBuffer
from collector.protocol import SECONDS_BETWEEN_MESSAGES, is_server_shutdown
from collector.subscriptions import Complaint, Subscriptions
from collector.transports import Link, Transport

log = logging.getLogger(__name__)

# The exchange answers in milliseconds; what takes this long will not be answered.
REPLY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect, with what, and what to expect there.

    Attributes:
        url: address of the combined streams, ending in /stream.
        transport: the websocket client.
        silence_seconds: a connection that delivers nothing for so long has something wrong.
        frame_seconds: how long a buffer may keep a message; replies come through it too.
    """

    url: str
    transport: Transport
    silence_seconds: float
    frame_seconds: float


class Connection:
    """A connection; `run` is its whole life.

    Args:
        name: for the log.
        endpoint: where to connect.
        streams: what to subscribe.
        new_buffer: makes the buffer that the messages go to.
        overlaps: tells whether another connection carries the same streams.
        on_news: called when it is open, and after each control message.

    Attributes:
        name: for the log.
        subscriptions: what it was asked to carry, and what was acknowledged.
        opened_at: the loop's time at which it was opened; None before.
        is_open: True from then to its end.
        task: what runs it; set by its owner.
    """

    task: asyncio.Task[str]

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        streams: Collection[str],
        *,
        new_buffer: Callable[[Connection], MessageBuffer],
        overlaps: Callable[[], bool],
        on_news: Callable[[], None],
    ) -> None:
        self.name = name
        self.subscriptions = Subscriptions(REPLY_SECONDS + endpoint.frame_seconds)
        self.subscriptions.want(streams)
        self.opened_at: float | None = None
        self.is_open = False
        self._endpoint = endpoint
        self._new_buffer = new_buffer
        self._overlaps = overlaps
        self._on_news = on_news
        self._loop = asyncio.get_running_loop()
        self._buffer: MessageBuffer | None = None
        self._asked = asyncio.Event()
        self._asked.set()
        self._is_shutting_down = False

    @property
    def overlaps(self) -> bool:
        """Whether another connection carries the same streams, or did so a moment ago.

        Only then may a message come twice, and ids come out of order between the two.
        """
        return self._overlaps()

    async def run(self) -> str:
        """Open, subscribe and read until the exchange ends it; returns how it ended.

        Cancelling closes it. What its buffer holds is handed over in any case.

        Raises:
            ConnectError: it can't be opened.
        """
        buffer = self._buffer = self._new_buffer(self)
        link = await self._endpoint.transport.connect(self._endpoint.url, buffer.append)
        self.is_open = True
        self.opened_at = self._loop.time()
        self._on_news()
        reading = asyncio.create_task(link.read(), name=f"read {self.name}")
        asking = asyncio.create_task(self._ask(link), name=f"ask {self.name}")
        try:
            await asyncio.wait((reading, asking), return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                asking.result()  # it has no end but a mistake of ours
            closed = reading.result()
            return f"code {closed.code} {closed.reason}".strip()
        finally:
            asking.cancel()
            try:
                await link.close()
                await asyncio.gather(reading, asking, return_exceptions=True)
            finally:
                reading.cancel()
                buffer.flush()
                self.is_open = False

    def want(self, streams: Collection[str]) -> None:
        """Subscribe and unsubscribe what it takes to carry exactly these streams."""
        self.subscriptions.want(streams)
        self._asked.set()

    def on_control(self, control: dict[str, Any]) -> Complaint | None:
        """Act on a control message; returns what the exchange complains of."""
        complaint = None
        if is_server_shutdown(control):
            self._is_shutting_down = True
        else:
            complaint = self.subscriptions.take_reply(control)
            self._asked.set()
        self._on_news()
        return complaint

    def trouble(self) -> str | None:
        """Return why the connection should be replaced, None while all is well."""
        now = self._loop.time()
        if self._is_shutting_down:
            return "serverShutdown"
        silence = self._endpoint.silence_seconds
        if self._buffer is not None and now - self._buffer.last_received >= silence:
            return f"silent for {silence:g} s"
        return self.subscriptions.overdue(now)

    async def _ask(self, link: Link) -> None:
        """Send what there is to ask, within the exchange's limit of messages."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self.subscriptions.has_next:
                await link.send(self.subscriptions.next_message(self._loop.time()))
                await asyncio.sleep(SECONDS_BETWEEN_MESSAGES)
