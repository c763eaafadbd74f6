"""Who is connected, who wants what, and the one way out for every market-data message.

`feed.py`, `playback.py` and `firehose.py` put messages in; `websocket_api.py` adds and removes
connections. Messages of one step are gathered per connection and written at once by `flush`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

from aiohttp import web

from sandbox.exchange.control import Session
from sandbox.exchange.frames import TEXT, frame, frame_header
from sandbox.exchange.limits import Keepalive, RateWindow
from sandbox.exchange.payloads import envelope

log = logging.getLogger(__name__)

_POLL_S = 0.0005

# Takes (stream, message) and returns the messages to send instead: none, one or several.
FrameSeam = Callable[[str, bytes], Sequence[bytes]]


def unchanged(_stream: str, message: bytes) -> Sequence[bytes]:
    """Send the message as it is: the seam's default."""
    return (message,)


class Connection:
    """One websocket client: its session, its limits, and what is queued for it."""

    def __init__(
        self,
        websocket: web.WebSocketResponse,
        transport: asyncio.Transport,
        session: Session,
        unit: int,
        keepalive: Keepalive,
        incoming: RateWindow,
    ) -> None:
        self.websocket = websocket
        self.session = session
        self.unit = unit
        self.keepalive = keepalive
        self.incoming = incoming
        self.closing = False
        self.closer: asyncio.Task[None] | None = None
        self._transport = transport
        self._queued: list[bytes] = []

    @property
    def backlog(self) -> int:
        """Bytes written but not yet taken by the client's socket."""
        return self._transport.get_write_buffer_size()

    @property
    def alive(self) -> bool:
        """Whether messages can still be sent."""
        return not self.closing and not self._transport.is_closing()

    def queue(self, message: bytes, opcode: int = TEXT) -> None:
        """Queue a message until the next flush."""
        self._queued.append(frame_header(opcode, len(message)))
        self._queued.append(message)

    def queue_frames(self, frames: bytes) -> None:
        """Queue bytes that are websocket frames already."""
        self._queued.append(frames)

    def send_now(self, message: bytes, opcode: int = TEXT) -> None:
        """Write a control frame or a reply at once, after what is queued."""
        self._queued.append(frame(message, opcode))
        self.flush()

    def flush(self) -> None:
        """Write what is queued."""
        if self._queued:
            if self.alive:
                self._transport.write(b"".join(self._queued))
            self._queued.clear()

    async def drained(self, high_water_bytes: int) -> None:
        """Wait until at most `high_water_bytes` are unread or the connection has ended.

        aiohttp keeps the transport's own flow control to itself, hence the polling; the
        housekeeping ends it for a client that has gone silent.
        """
        while self.alive and self.backlog > high_water_bytes:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)

    def abort(self) -> None:
        """Cut the connection without a closing handshake."""
        self.closing = True
        self._queued.clear()
        self._transport.abort()


class Hub:
    """All connections and their subscriptions.

    Args:
        send_buffer_bytes: a client whose backlog is larger is cut (None: never).
        seam: every market-data message passes through it (the place for injected faults).
    """

    def __init__(self, send_buffer_bytes: int | None, seam: FrameSeam = unchanged) -> None:
        self.connections: dict[Connection, None] = {}
        self.sent_messages = 0
        self.slow_disconnects = 0
        self.changed = asyncio.Event()  # set at every new subscription or connection
        self._send_buffer_bytes = send_buffer_bytes
        self._seam = seam
        self._subscribers: dict[str, dict[Connection, None]] = {}

    def add(self, connection: Connection) -> None:
        """Register a connection."""
        self.connections[connection] = None
        self.changed.set()

    def remove(self, connection: Connection) -> None:
        """Forget a connection and its subscriptions."""
        self.connections.pop(connection, None)
        self.unsubscribe(connection, connection.session.streams)

    def subscribe(self, connection: Connection, streams: Sequence[str]) -> None:
        """Let a connection receive `streams` from now on."""
        for stream in streams:
            self._subscribers.setdefault(stream, {})[connection] = None
        self.changed.set()

    def unsubscribe(self, connection: Connection, streams: Sequence[str]) -> None:
        """End subscriptions."""
        for stream in streams:
            subscribers = self._subscribers.get(stream, {})
            subscribers.pop(connection, None)
            if not subscribers:
                self._subscribers.pop(stream, None)

    def subscribers(self, stream: str) -> Iterator[Connection]:
        """Yield the live connections subscribed to a stream, first subscriber first."""
        return (c for c in self._subscribers.get(stream, ()) if c.alive)

    def has_subscribers(self, stream: str) -> bool:
        """Whether anyone wants the stream."""
        return stream in self._subscribers

    def live_connections(self) -> Iterator[Connection]:
        """Yield the connections that can be sent to, oldest first."""
        return (c for c in self.connections if c.alive)

    def publish(self, stream: str, encode: Callable[[int], list[bytes]]) -> int:
        """Queue an event for all subscribers; returns how many there are.

        Args:
            stream: the stream's name.
            encode: makes the event's payloads in a time unit; called once per unit needed.
        """
        if stream not in self._subscribers:
            return 0
        deliveries = 0
        messages: dict[tuple[bool, int], list[bytes]] = {}
        for connection in self.subscribers(stream):
            variant = (connection.session.combined, connection.unit)
            if variant not in messages:
                payloads = encode(connection.unit)
                if connection.session.combined:
                    payloads = [envelope(stream, payload) for payload in payloads]
                messages[variant] = payloads
            for message in messages[variant]:
                self.deliver(connection, stream, message)
            deliveries += 1
        return deliveries

    def deliver(
        self, connection: Connection, stream: str, message: bytes, opcode: int = TEXT
    ) -> None:
        """Queue one market-data message for one connection: the way out for all of them."""
        for passed in self._seam(stream, message):
            connection.queue(passed, opcode)
            self.sent_messages += 1

    def flush(self) -> None:
        """Write everything queued; cut connections that read too slowly."""
        for connection in list(self.connections):
            connection.flush()
            limit = self._send_buffer_bytes
            if limit is not None and connection.alive and connection.backlog > limit:
                log.warning("cut a client that is %d bytes behind", connection.backlog)
                self.slow_disconnects += 1
                connection.abort()
