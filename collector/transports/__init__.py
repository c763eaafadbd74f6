"""Transports: two websocket clients behind one seam.

`websockets` is the default; `picows` receives about ten times as much a core and is meant for
feeds of the full market. One conformance test holds both to the same behaviour. Both answer the
server's pings by themselves, deliver text and binary messages as bytes in the order of arrival,
and hold nothing back.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

# Binance's largest documented message is a depth snapshot of 5,000 levels, below 1 MB.
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0

OnMessage = Callable[[bytes], None]


class ConnectError(ConnectionError):
    """The connection could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended; the code is 1006 when no close frame came."""

    code: int
    reason: str


class Link(Protocol):
    """An open connection."""

    async def send(self, text: str) -> None:
        """Send a text message."""

    async def read(self) -> Closed:
        """Deliver messages to `on_message` until the connection has ended."""

    async def close(self) -> None:
        """Close the connection, within a limit; `read` then returns."""


class Transport(Protocol):
    """A module of this package."""

    async def connect(self, url: str, on_message: OnMessage) -> Link:
        """Open a connection.

        Raises:
            ConnectError: it can't be opened, or not within 10 s.
        """


def load_transport(name: str) -> Transport:
    """Return the transport `websockets` or `picows`; only the chosen library is imported."""
    return cast(Transport, importlib.import_module(f"collector.transports.{name}_transport"))
