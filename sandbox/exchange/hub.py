"""Who is connected, who wants what, and the one way out for every market-data message.

`feed.py`, `playback.py` and `firehose.py` put messages in; `websocket_api.py` adds and removes
connections. Messages of one step are gathered per connection and written at once by `flush`.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from aiohttp import web

from sandbox.exchange.control import Session
from sandbox.exchange.faults import FaultPlan, Passed
from sandbox.exchange.frames import TEXT, frame, frame_header
from sandbox.exchange.limits import Keepalive, RateWindow
from sandbox.exchange.payloads import envelope

log = logging.getLogger(__name__)

_POLL_S = 0.0005


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
        self.stalled_until = 0.0  # wall seconds: nothing is sent before
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

    def break_off(self, message: bytes, opcode: int) -> None:
        """Write the first half of a message and cut the connection."""
        whole = frame(message, opcode)
        self.queue_frames(whole[: len(whole) // 2])
        self.flush()
        self.abort()

    def abort(self) -> None:
        """Cut the connection without a closing handshake."""
        self.closing = True
        self._queued.clear()
        self._transport.abort()


class Hub:
    """All connections and their subscriptions.

    Args:
        send_buffer_bytes: a client whose backlog is larger is cut (None: never).
        faults: what goes wrong on purpose; none by default.
        wall: seconds that never run backwards.
    """

    def __init__(
        self,
        send_buffer_bytes: int | None,
        faults: FaultPlan | None = None,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connections: dict[Connection, None] = {}
        self.sent_messages = 0
        self.slow_disconnects = 0
        self.changed = asyncio.Event()  # set at every new subscription or connection
        self._send_buffer_bytes = send_buffer_bytes
        self._faults = faults or FaultPlan(wall)
        self._wall = wall
        self._event = self._number = 0
        self._stalled_until = 0.0  # of any connection
        # What is held back: (due, number, connection, message, opcode), soonest first; and until
        # when a connection's stream is behind.
        self._held: list[tuple[float, int, Connection, bytes, int]] = []
        self._behind: dict[tuple[Connection, str], float] = {}
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

    def stall(self, connection: Connection, seconds: float) -> None:
        """Send nothing to a connection for so long; what was to be sent is lost."""
        connection.stalled_until = self._wall() + seconds
        self._stalled_until = max(self._stalled_until, connection.stalled_until)

    @property
    def _is_faulty(self) -> bool:
        """Whether any message may not go out as it is."""
        return (
            self._faults.strikes_messages
            or bool(self._behind)
            or (self._stalled_until > 0 and self._wall() < self._stalled_until)
        )

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
        messages: dict[tuple[bool, int], list[bytes]] = {}
        recipients: list[tuple[Connection, list[bytes]]] = []
        for connection in self.subscribers(stream):
            variant = (connection.session.combined, connection.unit)
            if variant not in messages:
                payloads = encode(connection.unit)
                if connection.session.combined:
                    payloads = [envelope(stream, payload) for payload in payloads]
                messages[variant] = payloads
            recipients.append((connection, messages[variant]))
        if not self._is_faulty:
            for connection, own in recipients:
                for message in own:
                    connection.queue(message)
                self.sent_messages += len(own)
            return len(recipients)
        for same in zip(*(own for _, own in recipients), strict=True):
            self._event += 1
            for rank, message in enumerate(same):
                self._deliver(recipients[rank][0], stream, message, TEXT, rank)
        return len(recipients)

    def deliver(
        self, connection: Connection, stream: str, message: bytes, opcode: int = TEXT
    ) -> None:
        """Queue one market-data message for one connection."""
        self._event += 1
        self._deliver(connection, stream, message, opcode, rank=0)

    def _deliver(
        self, connection: Connection, stream: str, message: bytes, opcode: int, rank: int
    ) -> None:
        """Let a message through the faults."""
        if connection.stalled_until and self._wall() < connection.stalled_until:
            return
        for passed in self._faults.passed(self._event, rank, stream, message, opcode):
            self._send(connection, stream, passed)

    def _send(self, connection: Connection, stream: str, passed: Passed) -> None:
        now = self._wall()
        self.sent_messages += 1
        if passed.is_half:
            connection.break_off(passed.message, passed.opcode)
            return
        due, behind = now + passed.delay_seconds, self._behind.get((connection, stream))
        is_in_order = passed.is_in_order or not passed.delay_seconds
        if is_in_order and behind is not None:  # not before those that are held
            due = max(due, behind)
        elif not passed.delay_seconds:
            connection.queue(passed.message, passed.opcode)
            return
        if is_in_order:
            self._behind[connection, stream] = due
        self._number += 1
        heapq.heappush(self._held, (due, self._number, connection, passed.message, passed.opcode))

    def _release(self) -> None:
        """Queue what was held back long enough."""
        now = self._wall()
        while self._held and self._held[0][0] <= now:
            _, _, connection, message, opcode = heapq.heappop(self._held)
            connection.queue(message, opcode)
        self._behind = {place: due for place, due in self._behind.items() if due > now}

    def flush(self) -> None:
        """Write everything queued; cut connections that read too slowly."""
        if self._held:
            self._release()
        for connection in list(self.connections):
            connection.flush()
            limit = self._send_buffer_bytes
            if limit is not None and connection.alive and connection.backlog > limit:
                log.warning("cut a client that is %d bytes behind", connection.backlog)
                self.slow_disconnects += 1
                connection.abort()
