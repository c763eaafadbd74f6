"""The default transport: the `websockets` library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from collector.transports import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    MAX_MESSAGE_BYTES,
    Closed,
    ConnectError,
    OnMessage,
)

# Messages that wait in the library before it stops reading from the socket.
_QUEUE: Final = (1024, 256)


async def connect(url: str, on_message: OnMessage) -> WebsocketsLink:
    """Open a connection; see `Transport.connect`."""
    try:
        connection = await ws_connect(
            url,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            max_queue=_QUEUE,
            open_timeout=CONNECT_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,  # Binance pings; ours would count against its message limit
            proxy=None,
        )
    except (OSError, WebSocketException, TimeoutError) as error:
        raise ConnectError(f"{type(error).__name__}: {error}") from error
    return WebsocketsLink(connection, on_message)


class WebsocketsLink:
    """An open connection of the `websockets` library."""

    def __init__(self, connection: ClientConnection, on_message: Callable[[bytes], None]) -> None:
        self._connection = connection
        self._on_message = on_message
        self._may_read = asyncio.Event()
        self._may_read.set()

    async def send(self, text: str) -> None:
        """Send a text message."""
        try:
            await self._connection.send(text)
        except ConnectionClosed:
            return  # read() reports how it ended

    async def read(self) -> Closed:
        """Deliver messages until the connection has ended."""
        receive, on_message, may_read = self._connection.recv, self._on_message, self._may_read
        try:
            while True:
                if not may_read.is_set():
                    await may_read.wait()
                on_message(await receive(decode=False))
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                return Closed(1006, str(closed))
            return Closed(closed.rcvd.code, closed.rcvd.reason)

    def pause(self) -> None:
        """Stop delivering; the library stops reading when its queue is full."""
        self._may_read.clear()

    def resume(self) -> None:
        """Deliver again."""
        self._may_read.set()

    async def close(self) -> None:
        """Close the connection."""
        self._may_read.set()
        await self._connection.close()
