"""Puts the exchange together: source, websocket, REST and control endpoints on one port.

`Exchange` is an async context manager, used by `__main__.py` and by tests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from sandbox.exchange.catalogue import delisted_instruments, trading_instruments
from sandbox.exchange.clock import SimulatedClock, Timeline
from sandbox.exchange.fault_api import FaultApi
from sandbox.exchange.faults import FaultPlan
from sandbox.exchange.feed import MarketFeed
from sandbox.exchange.firehose import Firehose
from sandbox.exchange.history import History, MarketHistory, NoHistory
from sandbox.exchange.hub import Hub
from sandbox.exchange.klines import MINUTE_US
from sandbox.exchange.listings import Listings
from sandbox.exchange.market import Market
from sandbox.exchange.playback import Playback
from sandbox.exchange.recording import survey
from sandbox.exchange.rest import RestApi
from sandbox.exchange.settings import Settings
from sandbox.exchange.sim_api import SimApi, Source
from sandbox.exchange.tape import Tape
from sandbox.exchange.vision import VisionApi
from sandbox.exchange.websocket_api import WebsocketApi

log = logging.getLogger(__name__)

# The firehose makes its trades at this simulated rate; only their times depend on it.
_FIREHOSE_RATE = 50_000


class Exchange:
    """A running simulated Binance; enter to start it, leave to stop it.

    Args:
        settings: what to serve and how.

    Raises:
        OSError: the port is taken or a recording cannot be read (on entering).
        ValueError: a recording is damaged (on entering).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        start_us = settings.start_us
        if start_us is None:
            start_us = time.time_ns() // 1000
        self.clock = SimulatedClock(start_us, settings.speed, time.monotonic)
        self.faults = FaultPlan(time.monotonic)
        self.hub = Hub(settings.limits.send_buffer_bytes, self.faults)
        self.websockets = WebsocketApi(
            self.hub, settings.limits, self.clock.now_us, time.monotonic, self.faults
        )
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """The address it serves at, for example http://127.0.0.1:9443."""
        if self._runner is None:
            raise RuntimeError("the exchange is not started")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        """Prepare the source, bind the port, begin to emit."""
        await self._bind()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        """Announce the end if asked to, close the connections, free the port."""
        notice_s = self._settings.shutdown_notice_s
        if notice_s is not None and self.websockets.announce_shutdown():
            await asyncio.sleep(notice_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.websockets.close_all()
        if self._runner is not None:
            await self._runner.cleanup()

    async def run_until(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; a task that fails ends it with its exception."""
        stopping = asyncio.create_task(stop.wait())
        working: set[asyncio.Task[Any]] = {*self._tasks, stopping}
        try:
            while not stopping.done():
                done, working = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            stopping.cancel()

    async def _bind(self) -> None:
        app = web.Application()
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        source = self._source()
        vision = VisionApi(source if isinstance(source, MarketFeed) else None, self.clock)
        app.add_routes([*self._routes(source), *vision.routes()])
        app.cleanup_ctx.append(vision.opened)
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, self._settings.host, self._settings.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._tasks = [
            asyncio.create_task(source.run(), name="source"),
            asyncio.create_task(self.websockets.keep_house(), name="housekeeping"),
        ]

    def _routes(self, source: Source) -> list[web.RouteDef]:
        history: History = MarketHistory(source) if isinstance(source, MarketFeed) else NoHistory()
        listings = Listings([*source.instruments, *delisted_instruments()])
        limits, clock = self._settings.limits, self.clock
        rest = RestApi(listings, history, limits, clock.now_us, time.time, self.faults)
        control = SimApi(source, clock, self.hub, self.websockets, listings)
        feed = source if isinstance(source, MarketFeed) else None
        faults = FaultApi(self.faults, self.websockets, listings, clock, feed)
        return [*self.websockets.routes(), *rest.routes(), *control.routes(), *faults.routes()]

    def _source(self) -> Source:
        settings = self._settings
        if settings.mode == "recording":
            paths = settings.recordings
            return Playback(paths, survey(paths), self.hub)
        instruments = trading_instruments(settings.symbols)
        if settings.firehose:
            market = Market(instruments, settings.seed, _FIREHOSE_RATE)
            return Firehose(market, settings.firehose, self.clock.start_us, self.hub)
        market = Market(instruments, settings.seed, settings.rate, settings.calm_rate)
        genesis_us = self.clock.start_us - settings.history_us
        genesis_us -= genesis_us % MINUTE_US
        tape = Tape(market, Timeline(), genesis_us)
        feed = MarketFeed(tape, genesis_us, settings.seed, self.hub, self.clock)
        feed.catch_up(self.clock.start_us)
        return feed
