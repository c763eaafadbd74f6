"""One connection: connect, subscribe, read, and do it again when it ends.

Seam for make-before-break: a connection knows nothing of the others; a second one with the same
shard may run beside it, repeats are removed by id.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collector.backoff import backoff
from collector.buffer import MessageBuffer
from collector.protocol import (
    SECONDS_BETWEEN_MESSAGES,
    AttemptLimiter,
    Shard,
    subscribe_messages,
)
from collector.transports import ConnectError, Link, Transport

log = logging.getLogger(__name__)

# A connection that lived so long was a success: the next back-off starts anew.
_STABLE_SECONDS = 30.0


@dataclass(slots=True)
class ConnectionState:
    """What a connection is doing, for /healthz and metrics."""

    is_open: bool = False
    connects: int = 0
    failures: int = 0
    last_end: str = ""


class Connection:
    """Keeps one shard's connection alive until it is cancelled.

    Args:
        shard: the streams to subscribe.
        url: address of the combined streams, ending in /stream.
        transport: the websocket client.
        limiter: shared by all connections of an address.
        new_buffer: makes the buffer that the messages go to.
        silence_seconds: a connection that delivers nothing for so long is made anew.
    """

    def __init__(
        self,
        shard: Shard,
        url: str,
        *,
        transport: Transport,
        limiter: AttemptLimiter,
        new_buffer: Callable[[], MessageBuffer],
        silence_seconds: float,
    ) -> None:
        self.shard = shard
        self.state = ConnectionState()
        self._url = url
        self._transport = transport
        self._limiter = limiter
        self._new_buffer = new_buffer
        self._silence_seconds = silence_seconds
        self._link: Link | None = None
        self._is_paused = False
        self._resumed_at = 0.0

    async def run(self) -> None:
        """Connect and read for ever."""
        loop = asyncio.get_running_loop()
        waits = backoff(random.SystemRandom())
        while True:
            await asyncio.sleep(self._limiter.reserve(loop.time()))
            started = loop.time()
            try:
                end = await self._live()
            except ConnectError as error:
                self.state.failures += 1
                end = str(error)
            self.state.last_end = end
            if loop.time() - started > _STABLE_SECONDS:
                waits = backoff(random.SystemRandom())
            wait = next(waits)
            log.warning("connection %s ended: %s; next in %.1f s", self.shard.name, end, wait)
            await asyncio.sleep(wait)

    def pause(self) -> None:
        """Hold the exchange back; used when the spool is full."""
        self._is_paused = True
        if self._link is not None:
            self._link.pause()

    def resume(self) -> None:
        """Read again; what was silent because of us gets its time anew."""
        self._is_paused = False
        self._resumed_at = asyncio.get_running_loop().time()
        if self._link is not None:
            self._link.resume()

    async def reconnect(self, why: str) -> None:
        """End the connection; `run` makes a new one."""
        log.info("connection %s is made anew: %s", self.shard.name, why)
        if self._link is not None:
            await self._link.close()

    async def _live(self) -> str:
        """Live through one connection and return how it ended."""
        buffer = self._new_buffer()
        link = await self._transport.connect(self._url, buffer.append)
        self._link = link
        self.state.is_open = True
        self.state.connects += 1
        log.info("connection %s is open", self.shard.name)
        reading = asyncio.create_task(link.read(), name=f"read {self.shard.name}")
        caring = asyncio.create_task(self._care(link, buffer), name=f"care {self.shard.name}")
        try:
            done, _ = await asyncio.wait((reading, caring), return_when=asyncio.FIRST_COMPLETED)
            if reading in done:
                closed = reading.result()
                return f"code {closed.code} {closed.reason}".strip()
            return caring.result()
        finally:
            self.state.is_open = False
            self._link = None
            caring.cancel()
            await link.close()
            await asyncio.gather(reading, caring, return_exceptions=True)
            buffer.flush()

    async def _care(self, link: Link, buffer: MessageBuffer) -> str:
        """Subscribe, then watch for silence; returns when the connection should end."""
        if self._is_paused:
            link.pause()
        for message in subscribe_messages(self.shard.streams):
            await link.send(message)
            await asyncio.sleep(SECONDS_BETWEEN_MESSAGES)
        loop = asyncio.get_running_loop()
        while True:
            due = max(buffer.last_received, self._resumed_at) + self._silence_seconds
            if due <= loop.time() and not self._is_paused:
                return f"silent for {self._silence_seconds} s"
            await asyncio.sleep(max(due - loop.time(), 1.0))


def control_problem(control: dict[str, Any]) -> str | None:
    """Return the exchange's complaint in a control message, None when it has none.

    Source: binance-protocol, section 1 (error frames).
    """
    if "code" in control and "msg" in control:
        return f"{control['code']}: {control['msg']}"
    return None


def is_server_shutdown(control: dict[str, Any]) -> bool:
    """Tell whether the server announces its end, in the raw or the combined form."""
    data = control.get("data", control)
    return isinstance(data, dict) and data.get("e") == "serverShutdown"
