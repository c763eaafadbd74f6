"""The websocket half of the exchange: /ws and /stream, control messages, pings, limits.

The rules are in `control.py` and `limits.py`; this file joins them to aiohttp, which does the
handshake, parses what comes in and closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from sandbox.exchange.control import Session, TooManyStreamsError
from sandbox.exchange.faults import FaultPlan
from sandbox.exchange.frames import PING, PONG
from sandbox.exchange.hub import Connection, Hub
from sandbox.exchange.limits import ConnectionAttempts, Keepalive, Limits, RateWindow
from sandbox.exchange.payloads import envelope, server_shutdown_payload
from sandbox.exchange.rest_rules import RestError, time_unit

log = logging.getLogger(__name__)

_HOUSEKEEPING_S = 0.05
# How long a client may take to answer a closing handshake.
_CLOSE_TIMEOUT_S = 2.0
# A SUBSCRIBE for 1024 streams takes some 30 kB.
_MAX_INCOMING_BYTES = 1024 * 1024


class WebsocketApi:
    """Handlers of the websocket endpoints, and the housekeeping of their connections.

    Args:
        hub: where connections are registered.
        limits: the connection limits.
        now_us: the simulated time.
        wall: seconds that never run backwards, for the limits.
        faults: what goes wrong on purpose.
    """

    def __init__(
        self,
        hub: Hub,
        limits: Limits,
        now_us: Callable[[], int],
        wall: Callable[[], float],
        faults: FaultPlan,
    ) -> None:
        self._hub = hub
        self._faults = faults
        self._limits = limits
        self._attempts = ConnectionAttempts(limits)
        self._now_us = now_us
        self._wall = wall
        self._closing: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to an application."""
        return [
            web.get("/ws", self._raw),
            web.get("/ws/{streams:.*}", self._raw),
            web.get("/stream", self._combined),
        ]

    async def keep_house(self) -> None:
        """Ping, and close what is silent or too old, for ever (until cancelled)."""
        while True:
            now = self._wall()
            for connection in list(self._hub.live_connections()):
                if now < connection.stalled_until:
                    continue
                reason = connection.keepalive.expired(now)
                if reason is not None:
                    self._close_soon(connection, WSCloseCode.POLICY_VIOLATION, reason)
                elif self._faults.withholds_pings():
                    continue
                elif (payload := connection.keepalive.ping_due(now)) is not None:
                    connection.send_now(payload, PING)
            self._hub.flush()  # what was held back; the source may be silent
            await asyncio.sleep(_HOUSEKEEPING_S)

    def cut(self, count: int | None = None) -> int:
        """Cut the `count` oldest connections (None: all) without a handshake; returns how many."""
        connections = list(self._hub.live_connections())[:count]
        for connection in connections:
            connection.abort()
        return len(connections)

    def stall(self, seconds: float, count: int | None = None) -> int:
        """Send nothing to the `count` oldest connections for so long; returns how many."""
        connections = list(self._hub.live_connections())[:count]
        for connection in connections:
            self._hub.stall(connection, seconds)
        return len(connections)

    def shut_down(self, seconds: float) -> int:
        """Announce serverShutdown and close these connections later; returns how many."""
        connections = list(self._hub.live_connections())
        self.announce_shutdown()

        def close() -> None:
            for connection in connections:
                if connection.alive:
                    self._close_soon(connection, WSCloseCode.GOING_AWAY, "")

        asyncio.get_running_loop().call_later(seconds, close)
        return len(connections)

    def announce_shutdown(self) -> int:
        """Send the serverShutdown notice to all connections; returns how many."""
        connections = list(self._hub.live_connections())
        for connection in connections:
            payload = server_shutdown_payload(self._now_us(), connection.unit)
            if connection.session.combined:
                payload = envelope("!serverShutdown", payload)
            connection.send_now(payload)
        return len(connections)

    async def close_all(self) -> None:
        """Close all connections with a handshake (code 1001) and wait for it, 2 s at most."""
        for connection in list(self._hub.live_connections()):
            self._close_soon(connection, WSCloseCode.GOING_AWAY, "")
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_TIMEOUT_S * 2)

    async def _raw(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, request.match_info.get("streams", ""), combined=False)

    async def _combined(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, request.query.get("streams", ""), combined=True)

    async def _serve(
        self, request: web.Request, streams: str, *, combined: bool
    ) -> web.StreamResponse:
        if self._faults.refuses_connections():
            return web.Response(status=503)
        if not self._attempts.allow(request.remote or "", self._wall()):
            return web.json_response({"code": -1034, "msg": "Too many connections."}, status=429)
        try:
            unit = time_unit(request.query.get("timeUnit"))
        except RestError as error:
            return web.json_response(error.body, status=400)
        websocket = web.WebSocketResponse(
            autoping=False, compress=False, timeout=_CLOSE_TIMEOUT_S,
            max_msg_size=_MAX_INCOMING_BYTES,
        )  # fmt: skip
        await websocket.prepare(request)
        connection = self._connection(
            websocket, request, Session(combined, self._max_streams), unit
        )
        self._hub.add(connection)
        try:
            names = [name for name in streams.split("/") if name]
            self._hub.subscribe(connection, connection.session.subscribe(names))
            async for message in websocket:
                self._receive(connection, message)
        except TooManyStreamsError as error:
            self._close_soon(connection, WSCloseCode.POLICY_VIOLATION, str(error))
        finally:
            connection.closing = True
            self._hub.remove(connection)
            if connection.closer is not None:  # or the socket would close under its feet
                await asyncio.wait([connection.closer], timeout=_CLOSE_TIMEOUT_S * 2)
        return websocket

    @property
    def _max_streams(self) -> int | None:
        return self._limits.streams_per_connection

    def _connection(
        self, websocket: web.WebSocketResponse, request: web.Request, session: Session, unit: int
    ) -> Connection:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left during the handshake")
        keepalive = Keepalive(self._limits, self._wall())
        incoming = RateWindow(self._limits.messages_per_second, 1.0)
        return Connection(websocket, transport, session, unit, keepalive, incoming)

    def _receive(self, connection: Connection, message: WSMessage) -> None:
        if connection.closing:
            return
        if not connection.incoming.allow(self._wall()):
            self._close_soon(connection, WSCloseCode.POLICY_VIOLATION, "Too many requests")
        elif message.type is WSMsgType.PING:
            connection.send_now(bytes(message.data), PONG)
        elif message.type is WSMsgType.PONG:
            connection.keepalive.pong(bytes(message.data))
        elif message.type is WSMsgType.TEXT:
            self._control(connection, message.data)
        elif message.type is WSMsgType.BINARY:
            self._control(connection, message.data.decode(errors="replace"))

    def _control(self, connection: Connection, text: str) -> None:
        outcome = connection.session.handle(text)
        self._hub.unsubscribe(connection, outcome.removed)
        connection.send_now(outcome.reply)
        self._hub.subscribe(connection, outcome.added)

    def _close_soon(self, connection: Connection, code: int, reason: str) -> None:
        log.info("closing a connection: %s %s", code, reason)
        connection.flush()
        connection.closing = True
        task = asyncio.create_task(_close(connection.websocket, code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        connection.closer = task


async def _close(websocket: web.WebSocketResponse, code: int, reason: str) -> None:
    await websocket.close(code=code, message=reason.encode())
