"""/sim/*: what the sandbox asks of the exchange and tells it. Not part of Binance's protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from aiohttp import web

from sandbox.exchange.catalogue import Instrument
from sandbox.exchange.clock import SimulatedClock
from sandbox.exchange.feed import MarketFeed
from sandbox.exchange.hub import Hub
from sandbox.exchange.klines import INTERVALS
from sandbox.exchange.ledger import Ledger
from sandbox.exchange.listings import Listings
from sandbox.exchange.market import block_at
from sandbox.exchange.payloads import MILLISECOND, kline_row
from sandbox.exchange.websocket_api import WebsocketApi

_MAX_HURRY_S = 3600
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Source(Protocol):
    """What feeds the streams: the market, a recording or the firehose."""

    mode: str
    trades: Ledger
    agg_trades: Ledger

    @property
    def instruments(self) -> Sequence[Instrument]:
        """The symbols that trade."""

    @property
    def done(self) -> bool:
        """Whether everything there was to send has been sent."""

    def start(self) -> None:
        """Begin to send, if the source waits for something."""

    def details(self) -> dict[str, object]:
        """Return the source's own part of /sim/status."""

    async def run(self) -> None:
        """Send until done or cancelled."""


class SimApi:
    """Handlers of the sandbox's own endpoints."""

    def __init__(
        self,
        source: Source,
        clock: SimulatedClock,
        hub: Hub,
        websockets: WebsocketApi,
        listings: Listings,
    ) -> None:
        self._source = source
        self._feed = source if isinstance(source, MarketFeed) else None
        self._clock = clock
        self._hub = hub
        self._websockets = websockets
        self._listings = listings

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to an application."""
        reads: Mapping[str, Callable[[web.Request], object]] = {
            "/sim/status": self._status,
            "/sim/totals": self._totals,
            "/sim/klines": self._klines,
        }
        commands: Mapping[str, Callable[[web.Request], object]] = {
            "/sim/start": self._start,
            "/sim/pause": self._pause,
            "/sim/resume": self._resume,
            "/sim/hurry": self._hurry,
            "/sim/cut": self._cut,
            "/sim/shutdown-notice": self._shutdown_notice,
            "/sim/list": self._list,
            "/sim/delist": self._delist,
        }
        return [
            *(web.get(path, _answering(answer)) for path, answer in reads.items()),
            *(web.post(path, _answering(answer)) for path, answer in commands.items()),
        ]

    def _status(self, _request: web.Request) -> object:
        return {
            "mode": self._source.mode,
            "now": _iso(self._clock.now_us()),
            "speed": self._clock.speed,
            "hurry_ends": None
            if self._clock.hurry_ends_us is None
            else _iso(self._clock.hurry_ends_us),
            "connections": sum(1 for _ in self._hub.live_connections()),
            "subscriptions": sum(len(c.session.streams) for c in self._hub.live_connections()),
            "symbols": [instrument.symbol for instrument in self._source.instruments],
            "sent_messages": self._hub.sent_messages,
            "slow_disconnects": self._hub.slow_disconnects,
            "done": self._source.done,
            **self._source.details(),
        }

    def _totals(self, _request: web.Request) -> object:
        return {
            "trades": self._source.trades.report(),
            "agg_trades": self._source.agg_trades.report(),
        }

    def _klines(self, request: web.Request) -> object:
        feed = self._market()
        interval = request.query.get("interval", "1m")
        if interval not in INTERVALS:
            raise _bad_request(f"interval: expected one of {', '.join(INTERVALS)}")
        symbols = [instrument.symbol for instrument in feed.instruments]
        symbol = request.query.get("symbol", "")
        if symbol not in symbols:
            raise _bad_request(f"symbol: {symbol!r} does not trade here; see /sim/status")
        bars = feed.klines(symbols.index(symbol), interval, closed_only=True)
        return [kline_row(bar, interval, MILLISECOND) for bar in bars]

    def _start(self, _request: web.Request) -> object:
        self._source.start()
        return {}

    def _pause(self, _request: web.Request) -> object:
        self._market().tape.timeline.pause(self._clock.now_us())
        return {"paused": True}

    def _resume(self, _request: web.Request) -> object:
        self._market().tape.timeline.resume(self._clock.now_us())
        return {"paused": False}

    def _hurry(self, request: web.Request) -> object:
        """Reach the wall's time in `seconds`; the calm ends there."""
        feed, text = self._market(), request.query.get("seconds", "")
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _MAX_HURRY_S:
            raise _bad_request(f"seconds: expected above 0, at most {_MAX_HURRY_S}, was {text!r}")
        until_us = time.time_ns() // 1000 + int(seconds * 1_000_000)
        try:
            self._clock.hurry(until_us, seconds)
        except ValueError as error:
            raise _bad_request(str(error)) from None
        feed.tape.market.end_calm(block_at(until_us))
        return {"hurry_ends": _iso(until_us)}

    def _cut(self, _request: web.Request) -> object:
        return {"connections": self._websockets.cut()}

    def _shutdown_notice(self, _request: web.Request) -> object:
        return {"connections": self._websockets.announce_shutdown()}

    def _list(self, request: web.Request) -> object:
        symbol, status = request.query.get("symbol", ""), request.query.get("status", "TRADING")
        try:
            self._listings.set_status(symbol, status)
        except ValueError as error:
            raise _bad_request(str(error)) from None
        return {"symbols": len(self._listings.instruments)}

    def _delist(self, request: web.Request) -> object:
        try:
            self._listings.delist(request.query.get("symbol", ""))
        except ValueError as error:
            raise _bad_request(str(error)) from None
        return {"symbols": len(self._listings.instruments)}

    def _market(self) -> MarketFeed:
        if self._feed is None:
            raise web.HTTPConflict(
                text=json.dumps({"error": f"there is no market in mode {self._source.mode}"}),
                content_type="application/json",
            )
        return self._feed


def _iso(time_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z")


def _answering(
    answer: Callable[[web.Request], object],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response(answer(request))

    return handle


def _bad_request(message: str) -> web.HTTPBadRequest:
    text = json.dumps({"error": message}, ensure_ascii=False)
    return web.HTTPBadRequest(text=text, content_type="application/json")
