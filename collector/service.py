"""The service: owns the connections, the sealer, the outbox and the HTTP endpoints.

Order of life: spool, HTTP, exchangeInfo, connections. Order of death: connections (their buffers
are flushed), outbox (drained within a limit), HTTP. What is not acknowledged by then waits in the
spool for the next start.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import logging
import time
from typing import Any, Final

from collector import http
from collector.buffer import MessageBuffer
from collector.connection import Connection, control_problem, is_server_shutdown
from collector.exchange_info import SymbolNews
from collector.ledger import Position
from collector.metrics import CollectorMetrics, new_registry
from collector.outbox import Outbox, Publisher
from collector.protocol import AttemptLimiter, plan_shards
from collector.rest import ExchangeError, fetch_exchange_info
from collector.sealing import Sealed, Sealer, warm_up
from collector.selection import select_symbols
from collector.settings import Settings
from collector.spool import Spool
from collector.transports import load_transport
from market_data.channels import EXCHANGE_INFO

log = logging.getLogger(__name__)

# How often a full spool is looked at again.
_GATE_SECONDS: Final = 0.1


class Service:
    """The collector's life, from start to drained stop.

    Args:
        settings: what to collect and where it goes.
        publisher: where frames go.
    """

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._settings = settings
        self._spool = Spool(settings.spool_dir)
        self._outbox = Outbox(self._spool, publisher, max_spool_bytes=settings.spool_max_bytes)
        self._epoch = time.time_ns() // 1000
        self._sealer = Sealer(
            market=settings.market,
            collector=settings.collector_id,
            epoch=self._epoch,
            with_quantities=settings.control_totals == "full",
        )
        self._symbol_news = SymbolNews()
        self._connections: list[Connection] = []
        self._metrics = CollectorMetrics(
            self._outbox, lambda: [(c.shard.name, c.state) for c in self._connections]
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> bool:
        """Collect until `stop` is set, then drain.

        Returns:
            True when Pub/Sub has acknowledged everything.

        Raises:
            SelectionError: the symbols asked for don't exist.
            ExchangeError: the exchange refuses exchangeInfo.
            OSError: the HTTP port is taken.
        """
        warm_up()
        gc.freeze()  # what the libraries have made so far need not be looked at ever again
        self._outbox.start()
        try:
            runner, port = await http.serve(
                self._settings.http_host,
                self._settings.http_port,
                registry=new_registry(self._metrics),
                health=self._health,
                ledger=self._ledger,
            )
            log.info("serving /healthz, /metrics and /ledger on port %d", port)
            try:
                await self._collect(stop)
            finally:
                await runner.cleanup()
        finally:
            is_drained = await asyncio.to_thread(
                self._outbox.stop, float(self._settings.drain_seconds)
            )
            log.info("stopped; %d frames wait in the spool", self._outbox.pending_frames)
        return is_drained

    async def _collect(self, stop: asyncio.Event) -> None:
        collecting = asyncio.create_task(self._connect_all(), name="connections")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait((collecting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if collecting.done():
                collecting.result()
        finally:
            collecting.cancel()
            stopping.cancel()
            await asyncio.gather(collecting, stopping, return_exceptions=True)

    async def _connect_all(self) -> None:
        settings = self._settings
        entries = await self._ask_symbols()
        symbols = select_symbols(entries, settings.symbols, settings.quote_assets)
        shards = plan_shards(symbols, settings.channels, settings.streams_per_connection)
        log.info("%d symbols on %d connections", len(symbols), len(shards))
        limiter = AttemptLimiter()
        transport = load_transport(settings.transport)
        self._connections = [
            Connection(
                shard,
                f"{settings.ws_url}/stream",
                transport=transport,
                limiter=limiter,
                new_buffer=functools.partial(self._new_buffer, shard.name),
                silence_seconds=settings.silence_seconds,
            )
            for shard in shards
        ]
        async with asyncio.TaskGroup() as group:
            for connection in self._connections:
                group.create_task(connection.run(), name=connection.shard.name)
            group.create_task(self._keep_gate(), name="gate")
            group.create_task(self._follow_symbols(), name="symbols")

    async def _ask_symbols(self) -> list[bytes]:
        """Ask for exchangeInfo, publish what is new in it, and return its entries."""
        entries = await fetch_exchange_info(self._settings.rest_url, asyncio.sleep)
        now = time.time_ns() // 1000
        lines = self._symbol_news.lines(entries, now)
        sealed = self._sealer.seal_lines(
            EXCHANGE_INFO, lines, now, source="rest", max_bytes=self._settings.frame_bytes
        )
        self._put(sealed)
        log.info("exchangeInfo lists %d symbols; %d entries are news", len(entries), len(lines))
        return entries

    async def _follow_symbols(self) -> None:
        """Ask for exchangeInfo again and again; what was told of symbols must not end the rest."""
        while True:
            await asyncio.sleep(self._settings.exchange_info_seconds)
            try:
                await self._ask_symbols()
            except ExchangeError as error:
                log.error("symbols stay as they were last told: %s", error)

    def _new_buffer(self, name: str) -> MessageBuffer:
        return MessageBuffer(
            functools.partial(self._on_full, name),
            max_messages=self._settings.frame_lines,
            max_bytes=self._settings.frame_bytes,
            max_age=self._settings.frame_age_ms / 1000,
        )

    def _on_full(self, name: str, messages: list[bytes], times_ns: list[int]) -> None:
        """Seal a buffer of the connection `name` and put its frames into the outbox."""
        sealed = self._sealer.seal(messages, times_ns)
        self._put(sealed)
        for control in sealed.controls:
            self._on_control(name, control)
        if self._outbox.is_full:
            self._pause()

    def _put(self, sealed: Sealed) -> None:
        for frame in sealed.frames:
            self._outbox.put(frame)
        self._metrics.messages.update(sealed.messages)

    def _on_control(self, name: str, control: dict[str, Any]) -> None:
        problem = control_problem(control)
        if problem is not None:
            self._metrics.control_errors += 1
            log.error("the exchange answered %s", problem)
        elif is_server_shutdown(control):
            # Every connection gets the notice: each follows its own, and once.
            for connection in self._connections:
                if connection.shard.name == name:
                    task = asyncio.create_task(connection.reconnect("serverShutdown"))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    def _pause(self) -> None:
        if not self._metrics.is_paused:
            self._metrics.is_paused = True
            log.warning("reading pauses: the spool is full or the disk is behind")
            for connection in self._connections:
                connection.pause()

    async def _keep_gate(self) -> None:
        """Let the connections read again when the outbox has room."""
        while True:
            await asyncio.sleep(_GATE_SECONDS)
            if self._metrics.is_paused and not self._outbox.is_full:
                self._metrics.is_paused = False
                log.info("reading goes on")
                for connection in self._connections:
                    connection.resume()

    def _health(self) -> dict[str, Any]:
        """Return the body of /healthz.

        `starting` until every connection has been open once; `failing` when none is open or the
        spool can't be written; otherwise `ok`.
        """
        states = [(connection.shard.name, connection.state) for connection in self._connections]
        if not states or not all(state.connects for _, state in states):
            status = "starting"
        elif not any(state.is_open for _, state in states) or not self._outbox.is_alive:
            status = "failing"
        else:
            status = "ok"
        return {
            "status": status,
            "collector": self._settings.collector_id,
            "epoch": self._epoch,
            "is_paused": self._metrics.is_paused,
            "pending_frames": self._outbox.pending_frames,
            "connections": {name: dataclasses.asdict(state) for name, state in states},
        }

    def _ledger(self) -> dict[str, Any]:
        """Return the body of /ledger: what has been made durable, and what was acknowledged."""
        counts = self._outbox.counts
        return {
            "collector": self._settings.collector_id,
            "epoch": self._epoch,
            "frames": {
                "sealed": self._sealer.sequence,
                "spooled": counts.spooled_frames,
                "published": counts.published_frames,
                "pending": self._outbox.pending_frames,
            },
            "messages": dict(self._metrics.messages),
            "lines": {"spooled": counts.spooled_lines, "published": counts.published_lines},
            "symbols": [_totals(position) for position in self._outbox.positions()],
        }


def _totals(position: Position) -> dict[str, Any]:
    return {
        name: str(value) if name.startswith("sum_") and value is not None else value
        for name, value in dataclasses.asdict(position).items()
    }
