"""The fast transport: the `picows` library, whose parser and event loop glue are compiled."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import picows

from collector.transports import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    MAX_MESSAGE_BYTES,
    Closed,
    ConnectError,
    OnMessage,
)

# Looked up once: an attribute of an enum costs as much as taking a whole frame.
_MESSAGE: Final = (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY)
_CONTINUATION: Final = picows.WSMsgType.CONTINUATION
_CLOSE: Final = picows.WSMsgType.CLOSE
# RFC 6455, section 7.1.5: stands for a close frame without a code; it is never sent.
_NO_CODE: Final = 1005


async def connect(url: str, on_message: OnMessage) -> PicowsLink:
    """Open a connection; see `Transport.connect`."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            transport, listener = await picows.ws_connect(
                lambda: _Listener(on_message),
                url,
                websocket_handshake_timeout=CONNECT_SECONDS,
                enable_auto_pong=True,
                max_frame_size=MAX_MESSAGE_BYTES,
            )
    except (OSError, picows.WSError, TimeoutError) as error:
        raise ConnectError(f"{type(error).__name__}: {error}") from error
    if listener is None:  # the library takes a hang-up during the handshake for a connection
        raise ConnectError("the server hung up during the handshake")
    return PicowsLink(transport, listener)


class _Listener(picows.WSListener):  # type: ignore[misc] # picows ships no types
    """Receives frames; a message in one frame, the common case, costs one call."""

    __slots__ = ("_fragments", "_on_message", "closed", "ended")  # read in half the time

    def __init__(self, on_message: OnMessage) -> None:
        self._on_message = on_message
        self._fragments: list[bytes] = []
        self.closed = Closed(1006, "no close frame received")
        self.ended = asyncio.Event()

    def on_ws_disconnected(self, transport: Any) -> None:
        self.ended.set()

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        kind = frame.msg_type
        if kind in _MESSAGE and frame.fin:
            self._on_message(frame.get_payload_as_bytes())
        elif kind == _CLOSE:
            reason = bytes(frame.get_close_message() or b"").decode("utf-8", "replace")
            code = frame.get_close_code()
            self.closed = Closed(int(code) or _NO_CODE, reason)
            transport.send_close(code or picows.WSCloseCode.OK)
            transport.disconnect()
        elif kind in _MESSAGE or kind == _CONTINUATION:
            self._take_fragment(transport, frame)

    def _take_fragment(self, transport: Any, frame: Any) -> None:
        self._fragments.append(frame.get_payload_as_bytes())
        if sum(map(len, self._fragments)) > MAX_MESSAGE_BYTES:
            raise picows.WSProtocolError(
                picows.WSCloseCode.MESSAGE_TOO_BIG, "a fragmented message is too large"
            )
        if frame.fin:
            message, self._fragments = b"".join(self._fragments), []
            self._on_message(message)


class PicowsLink:
    """An open connection of the `picows` library."""

    def __init__(self, transport: Any, listener: _Listener) -> None:
        self._transport = transport
        self._listener = listener

    async def send(self, text: str) -> None:
        """Send a text message."""
        if not self._transport.is_disconnected:
            self._transport.send(picows.WSMsgType.TEXT, text.encode())

    async def read(self) -> Closed:
        """Wait until the connection has ended; messages arrive by callback."""
        try:
            await self._transport.wait_disconnected()
        except picows.WSProtocolError as error:  # the server's mistake, found by the library
            return Closed(1006, str(error))
        return self._listener.closed

    async def close(self) -> None:
        """Close the connection."""
        self._transport.send_close(picows.WSCloseCode.OK)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._listener.ended.wait()
        except TimeoutError:
            self._transport.disconnect(graceful=False)
            await self._listener.ended.wait()
