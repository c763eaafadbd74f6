"""The fleet: which lanes there are, and which symbols they follow.

The service gives the fleet two callbacks and knows nothing else of connections:

* `ask_symbols` returns the entries of exchangeInfo;
* `on_full(connection, messages, times_ns)` takes a full buffer. `connection.overlaps` says whether
  another connection carries the same streams at the moment, or did so a moment ago: only then may
  a message come twice, and the ids of the two come out of order.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from collector.buffer import MessageBuffer
from collector.connection import Connection, Endpoint
from collector.lane import Lane, LaneOptions, LaneState, OnFull, Queue
from collector.protocol import AttemptLimiter, Shard, plan_shards
from collector.rest import ExchangeError
from collector.selection import SelectionError, select_symbols, unknown_symbols
from collector.settings import Settings
from collector.transports import load_transport

log = logging.getLogger(__name__)


class Fleet:
    """All lanes to the exchange.

    Args:
        settings: what to collect, and from where.
        ask_symbols: returns the entries of exchangeInfo.
        on_full: takes the messages of a connection and their receive times (ns since 1970).

    Attributes:
        symbols: the symbols that are followed, in exchangeInfo's order.
        unknown_symbols: symbols that were asked for and that the exchange does not list.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ask_symbols: Callable[[], Awaitable[list[bytes]]],
        on_full: OnFull,
    ) -> None:
        self.symbols: list[str] = []
        self.unknown_symbols: list[str] = []
        self._settings = settings
        self._ask_symbols = ask_symbols
        self._options = LaneOptions(
            Endpoint(
                f"{settings.ws_url}/stream",
                load_transport(settings.transport),
                silence_seconds=settings.silence_seconds,
                frame_seconds=settings.frame_age_ms / 1000,
            ),
            limiter=AttemptLimiter(),
            queue=Queue(),
            rotate_seconds=settings.rotate_seconds,
            numbers=itertools.count(1),
            new_buffer=self._new_buffer,
            on_full=on_full,
        )
        self._lanes: dict[str, Lane] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def choose(self) -> None:
        """Ask for the symbols and choose those to follow.

        Raises:
            SelectionError: the symbols asked for don't exist.
            ExchangeError: the exchange refuses exchangeInfo.
        """
        self.symbols = self._select(await self._ask_symbols())

    async def run(self) -> None:
        """Follow the symbols, on as many lanes as it takes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._carry(self.symbols, group)
            log.info("%d symbols on %d connections", len(self.symbols), len(self._lanes))
            while True:
                await asyncio.sleep(self._settings.exchange_info_seconds)
                await self._follow(group)

    def states(self) -> list[tuple[str, LaneState]]:
        """Return name and state of each lane, for /healthz and metrics."""
        return [(name, lane.state) for name, lane in self._lanes.items()]

    def on_control(self, connection: Connection, control: dict[str, Any]) -> bool:
        """Act on a control message of a connection; returns whether it was a complaint."""
        complaint = connection.on_control(control)
        if complaint is not None:
            log.error("the exchange answered %s on %s", complaint, connection.name)
        return complaint is not None

    def rotate(self, why: str) -> None:
        """Have every connection replaced."""
        for lane in self._lanes.values():
            lane.rotate(why)

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """Ask for the symbols again; what is told of them must not end what works."""
        try:
            symbols = self._select(await self._ask_symbols())
        except (ExchangeError, SelectionError) as error:
            log.error("symbols stay as they were last told: %s", error)
            return
        new = [symbol for symbol in symbols if symbol not in set(self.symbols)]
        gone = [symbol for symbol in self.symbols if symbol not in set(symbols)]
        if new or gone:
            self._carry(symbols, group)
            log.info("symbols to follow: %s; no more: %s", _shown(new), _shown(gone))

    def _select(self, entries: list[bytes]) -> list[str]:
        settings = self._settings
        unknown = unknown_symbols(entries, settings.symbols)
        if unknown != self.unknown_symbols:
            self.unknown_symbols = unknown
            if unknown:
                log.warning(
                    "BINANCE_SYMBOLS: the exchange has no symbol %s; followed when it is listed",
                    ", ".join(unknown),
                )
        return select_symbols(entries, settings.symbols, settings.quote_assets)

    def _carry(self, symbols: list[str], group: asyncio.TaskGroup) -> None:
        """Let the lanes carry these symbols: change, end and begin what it takes."""
        settings = self._settings
        planned = plan_shards(
            symbols,
            settings.channels,
            settings.streams_per_connection,
            [lane.shard for lane in self._lanes.values()],
        )
        for name in self._lanes.keys() - {shard.name for shard in planned}:
            self._tasks.pop(name).cancel()
            del self._lanes[name]
        for shard in planned:
            if shard.name not in self._lanes:
                self._begin(shard, group)
            elif self._lanes[shard.name].shard != shard:
                self._lanes[shard.name].carry(shard.streams)
        self.symbols = symbols

    def _begin(self, shard: Shard, group: asyncio.TaskGroup) -> None:
        lane = self._lanes[shard.name] = Lane(shard, self._options)
        self._tasks[shard.name] = group.create_task(lane.run(), name=shard.name)

    def _new_buffer(self, on_full: Callable[[list[bytes], list[int]], None]) -> MessageBuffer:
        return MessageBuffer(
            on_full,
            max_messages=self._settings.frame_lines,
            max_bytes=self._settings.frame_bytes,
            max_age=self._settings.frame_age_ms / 1000,
        )


def _shown(symbols: list[str]) -> str:
    """Return the first symbols as a text."""
    more = f" and {len(symbols) - 10} more" if len(symbols) > 10 else ""
    return (", ".join(symbols[:10]) or "none") + more
