"""Websocket framing of server messages (RFC 6455 section 5.2: server frames are not masked).

The exchange frames its market data itself and writes many frames at once, which costs a tenth of
sending each through the websocket library; aiohttp still does the handshake, everything that
comes in, and closing.
"""

from __future__ import annotations

TEXT, BINARY, PING, PONG = 0x1, 0x2, 0x9, 0xA
_FINAL = 0x80


def frame_header(opcode: int, length: int) -> bytes:
    """Return the header of an unfragmented, unmasked frame with `length` payload bytes."""
    first = _FINAL | opcode
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def frame(message: bytes, opcode: int = TEXT) -> bytes:
    """Return `message` as one frame."""
    return frame_header(opcode, len(message)) + message
