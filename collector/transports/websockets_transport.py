"""The default transport: the `websockets` library.

Messages are taken where the library has parsed them, before its queue: the queue and the task
switch behind it would cost as much again as the parsing, and the collector wants a callback.
"""

from __future__ import annotations

import functools
from typing import Any, Final, cast

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from collector.transports import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    MAX_MESSAGE_BYTES,
    Closed,
    ConnectError,
    OnMessage,
)

_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


async def connect(url: str, on_message: OnMessage) -> WebsocketsLink:
    """Open a connection; see `Transport.connect`."""
    try:
        connection = await ws_connect(
            url,
            # A factory will do, the library's documentation says so; its type asks for a class.
            create_connection=functools.partial(_Connection, on_message),  # type: ignore[arg-type]
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            open_timeout=CONNECT_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,  # Binance pings; ours would count against its message limit
            proxy=None,
        )
    except (OSError, WebSocketException, TimeoutError) as error:
        raise ConnectError(f"{type(error).__name__}: {error}") from error
    return WebsocketsLink(cast(_Connection, connection))


class _Connection(ClientConnection):
    """The library's connection, which hands messages to a callback instead of its queue."""

    def __init__(self, on_message: OnMessage, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._on_message = on_message
        self._fragments: list[bytes] = []
        self.failure: Exception | None = None

    def process_event(self, event: Event) -> None:
        if type(event) is not Frame or event.opcode not in _DATA:
            super().process_event(event)
            return
        try:
            if event.fin and not self._fragments:
                self._on_message(bytes(event.data))
            else:
                self._take_fragment(event)
        except Exception as error:  # a mistake of ours; the loop would only log it
            self.failure = error
            self.transport.abort()

    def _take_fragment(self, frame: Frame) -> None:
        """Join fragments; the library has checked their order, and their size together."""
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            message, self._fragments = b"".join(self._fragments), []
            self._on_message(message)


class WebsocketsLink:
    """An open connection of the `websockets` library."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        """Send a text message."""
        try:
            await self._connection.send(text)
        except ConnectionClosed:
            return  # read() reports how it ended

    async def read(self) -> Closed:
        """Wait until the connection has ended; messages arrive by callback."""
        await self._connection.wait_closed()
        if self._connection.failure is not None:
            raise self._connection.failure
        protocol = self._connection.protocol
        if protocol.close_rcvd is None:
            return Closed(1006, str(protocol.close_exc))
        return Closed(protocol.close_rcvd.code, protocol.close_rcvd.reason)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
