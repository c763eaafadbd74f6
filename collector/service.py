"""The service: owns the connections, the sealer, the outbox and the HTTP endpoints.

Order of life: spool, HTTP, exchangeInfo, connections. Order of death: connections (their buffers
are flushed), outbox (drained within a limit), HTTP. What is not acknowledged by then waits in the
spool for the next start.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import time
from typing import Any, Final

from collector import http
from collector.budget import Budget
from collector.connection import Connection
from collector.continuity import Continuity
from collector.exchange_info import SymbolNews
from collector.fleet import Fleet
from collector.healer import Healer
from collector.intake import Intake
from collector.ledger import Position
from collector.metrics import CollectorMetrics, new_registry
from collector.outbox import Outbox, Publisher
from collector.rest import Rest, fetch_exchange_info
from collector.sealing import Sealer, warm_up
from collector.settings import Settings
from collector.spool import Spool
from market_data.channels import EXCHANGE_INFO

log = logging.getLogger(__name__)

# How often a full spool is looked at again when no message comes.
_GATE_SECONDS: Final = 1.0
# Open holes that /healthz names; it counts all of them.
_SHOWN_HOLES: Final = 20


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
        self._continuity = Continuity(
            settings.market, self._spool.ledger.positions(), self._spool.holes()
        )
        self._intake = Intake(
            self._sealer,
            self._continuity,
            self._outbox,
            run_id=f"{settings.collector_id}/{self._epoch}",
            frame_bytes=settings.frame_bytes,
            heal_max_ids=settings.heal_max_ids,
            grace=settings.heal_after_ms / 1000,
        )
        self._budget = Budget()
        self._symbol_news = SymbolNews()
        self._fleet = Fleet(settings, ask_symbols=self._ask_symbols, on_full=self._on_full)
        self._metrics = CollectorMetrics(
            self._outbox, self._fleet.states, self._intake, self._continuity, self._budget
        )
        self._is_started = False

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
        collecting = asyncio.create_task(self._run_fleet(), name="connections")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait((collecting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if collecting.done():
                collecting.result()
        finally:
            collecting.cancel()
            stopping.cancel()
            await asyncio.gather(collecting, stopping, return_exceptions=True)

    async def _run_fleet(self) -> None:
        await self._fleet.choose()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fleet.run(), name="fleet")
            group.create_task(self._heal(), name="healer")
            group.create_task(self._keep_gate(), name="gate")

    async def _heal(self) -> None:
        grace = self._settings.heal_after_ms / 1000
        async with Rest(self._settings.rest_url, self._budget) as rest:
            await Healer(self._continuity, rest, self._intake, grace=grace).run()

    async def _ask_symbols(self) -> list[bytes]:
        """Ask for exchangeInfo, publish what is new in it, and return its entries."""
        entries = await fetch_exchange_info(
            self._settings.rest_url, asyncio.sleep, budget=self._budget
        )
        now = time.time_ns() // 1000
        lines = self._symbol_news.lines(entries, now)
        self._intake.take_lines(EXCHANGE_INFO, lines, now)
        log.info("exchangeInfo lists %d symbols; %d entries are news", len(entries), len(lines))
        return entries

    def _on_full(self, connection: Connection, messages: list[bytes], times_ns: list[int]) -> None:
        """Take a buffer of a connection and act on the control messages in it."""
        controls = self._intake.take(
            connection.name, messages, times_ns, overlaps=connection.overlaps
        )
        for control in controls:
            self._metrics.control_errors += self._fleet.on_control(connection, control)

    async def _keep_gate(self) -> None:
        """Notice that the outbox has room again."""
        while True:
            await asyncio.sleep(_GATE_SECONDS)
            self._intake.look()

    def _health(self) -> dict[str, Any]:
        """Return the body of /healthz.

        `starting` until every connection of the start has been open once; `failing` when none is
        open, the spool can't be written, or messages are dropped; otherwise `ok`.
        """
        states = self._fleet.states()
        if states and all(state.connects for _, state in states):
            self._is_started = True
        if not self._is_started:
            status = "starting"
        elif (
            not any(state.is_open for _, state in states)
            or not self._outbox.is_alive
            or self._intake.is_dropping
        ):
            status = "failing"
        else:
            status = "ok"
        return {
            "status": status,
            "collector": self._settings.collector_id,
            "epoch": self._epoch,
            "is_dropping": self._intake.is_dropping,
            "pending_frames": self._outbox.pending_frames,
            "symbols": len(self._fleet.symbols),
            "unknown_symbols": self._fleet.unknown_symbols,
            "connections": {name: dataclasses.asdict(state) for name, state in states},
            "holes": self._holes(),
        }

    def _holes(self) -> dict[str, Any]:
        """Return what is missing now: how much, and the first few holes."""
        holes = list(self._continuity.holes())
        return {
            "open": len(holes),
            "missing_ids": self._continuity.missing_ids,
            "rest_paused_until": self._budget.paused_until or None,
            "first": [
                {
                    "channel": hole.channel,
                    "symbol": hole.symbol,
                    "first_id": hole.first_id,
                    "last_id": hole.last_id,
                    "missing": hole.size,
                    "cause": hole.cause,
                    "found_at": hole.found_at,
                }
                for hole in holes[:_SHOWN_HOLES]
            ],
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
            "messages": dict(self._intake.messages),
            "lines": {"spooled": counts.spooled_lines, "published": counts.published_lines},
            "symbols": [_totals(position) for position in self._outbox.positions()],
        }


def _totals(position: Position) -> dict[str, Any]:
    return {
        name: str(value) if name.startswith("sum_") and value is not None else value
        for name, value in dataclasses.asdict(position).items()
    }
