"""The REST half of the exchange: /api/v3/*, with weights, bans and time units.

The rules are in `rest_rules.py`, the data in `history.py`; this file joins them to aiohttp.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from sandbox.exchange.exchange_info import PARAMETERS as EXCHANGE_INFO_PARAMETERS
from sandbox.exchange.exchange_info import choose, exchange_info
from sandbox.exchange.faults import Fault, FaultPlan, wrong_answer
from sandbox.exchange.history import History
from sandbox.exchange.klines import INTERVALS
from sandbox.exchange.limits import Limits, Verdict, WeightMeter
from sandbox.exchange.listings import Listings
from sandbox.exchange.rest_rules import (
    WEIGHTS,
    Query,
    RestError,
    banned,
    time_unit,
    too_much_weight,
)

_UTC_NAMES = (None, "0", "+0", "-0", "0:00", "00:00", "+00:00", "-00:00", "+0:00", "-0:00")
Answer = Callable[[web.Request, int], object]


class RestApi:
    """Handlers of the market-data endpoints.

    Args:
        listings: all symbols of exchangeInfo, those in BREAK too.
        history: answers for trades and klines.
        limits: the weight and ban limits.
        now_us: the simulated time.
        wall: Unix seconds, for the limits.
        faults: what goes wrong on purpose.
    """

    def __init__(
        self,
        listings: Listings,
        history: History,
        limits: Limits,
        now_us: Callable[[], int],
        wall: Callable[[], float],
        faults: FaultPlan,
    ) -> None:
        self._faults = faults
        self._answers = 0  # wrong ones
        self._instruments = listings.instruments
        self._history = history
        self._limits = limits
        self._meter = WeightMeter(limits)
        self._now_us = now_us
        self._wall = wall

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to an application."""
        answers: dict[str, Answer] = {
            "/api/v3/ping": self._ping,
            "/api/v3/time": self._time,
            "/api/v3/exchangeInfo": self._exchange_info,
            "/api/v3/trades": self._trades,
            "/api/v3/historicalTrades": self._historical_trades,
            "/api/v3/aggTrades": self._agg_trades,
            "/api/v3/klines": self._klines,
        }
        return [web.get(path, self._metered(path, answer)) for path, answer in answers.items()]

    def _metered(
        self, path: str, answer: Answer
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            verdict = self._meter.charge(request.remote or "", WEIGHTS[path], self._wall())
            if verdict.status != 200:
                return self._refused(verdict)
            if (fault := self._faults.of_request(path)) is not None:
                return await self._faulty(request, fault, verdict)
            try:
                unit = time_unit(request.headers.get("X-MBX-TIME-UNIT"))
                return _json_response(answer(request, unit), 200, verdict)
            except RestError as error:
                return _json_response(error.body, 400, verdict)

        return handle

    def _refused(self, verdict: Verdict) -> web.Response:
        if verdict.status == 429:
            body = too_much_weight(self._limits.weight_per_minute)
        else:
            body = banned(int((self._wall() + verdict.retry_after_s) * 1000))
        response = _json_response(body, verdict.status, verdict)
        response.headers["Retry-After"] = str(verdict.retry_after_s)
        return response

    async def _faulty(self, request: web.Request, fault: Fault, verdict: Verdict) -> web.Response:
        """Answer as a fault says."""
        if fault.what == "rest_timeout":
            await asyncio.sleep(fault.delay_seconds)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=504)
        if fault.what == "rest_garbage":
            body = wrong_answer(random.Random(self._next_answer(fault)))
            return web.Response(body=body, content_type="application/json")
        status = int(fault.status or 500)
        if status in (418, 429):
            wait_s = fault.retry_after if fault.retry_after is not None else 1
            return self._refused(Verdict(status, verdict.used_weight, wait_s))
        text = "Service Unavailable" if status >= 500 else "Forbidden"
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return web.Response(status=status, text=f"<html>{text}</html>", headers=headers)

    def _next_answer(self, fault: Fault) -> int:
        self._answers += 1
        return fault.seed + self._answers

    def _ping(self, request: web.Request, _unit: int) -> object:
        _query(request, ())
        return {}

    def _time(self, request: web.Request, unit: int) -> object:
        _query(request, ())
        return {"serverTime": self._now_us() // unit}

    def _exchange_info(self, request: web.Request, unit: int) -> object:
        query = _query(request, EXCHANGE_INFO_PARAMETERS)
        chosen = choose(self._instruments, query)
        return exchange_info(chosen, self._limits, self._now_us() // unit)

    def _trades(self, request: web.Request, unit: int) -> object:
        query = _query(request, ("symbol", "limit"))
        symbol = query.symbol(self._instruments)
        return self._history.trades(symbol, None, query.limit(), unit)

    def _historical_trades(self, request: web.Request, unit: int) -> object:
        query = _query(request, ("symbol", "limit", "fromId"))
        symbol = query.symbol(self._instruments)
        return self._history.trades(symbol, query.integer("fromId"), query.limit(), unit)

    def _agg_trades(self, request: web.Request, unit: int) -> object:
        query = _query(request, ("symbol", "fromId", "startTime", "endTime", "limit"))
        symbol = query.symbol(self._instruments)
        from_id = query.integer("fromId")
        start_us, end_us = query.time_us("startTime"), query.last_time_us("endTime")
        if from_id is not None and (start_us is not None or end_us is not None):
            raise RestError(-1128, "Combination of optional parameters invalid.")
        return self._history.agg_trades(symbol, from_id, start_us, end_us, query.limit(), unit)

    def _klines(self, request: web.Request, unit: int) -> object:
        names = ("symbol", "interval", "startTime", "endTime", "timeZone", "limit")
        query = _query(request, names)
        symbol, interval = query.symbol(self._instruments), query.mandatory("interval")
        if interval not in INTERVALS:
            raise RestError(-1120, "Invalid interval.")
        if query.text("timeZone") not in _UTC_NAMES:
            raise RestError(-1130, "Data sent for parameter 'timeZone' is not valid.")
        start_us, end_us = query.time_us("startTime"), query.last_time_us("endTime")
        return self._history.klines(symbol, interval, start_us, end_us, query.limit(), unit)


def _query(request: web.Request, allowed: Sequence[str] | frozenset[str]) -> Query:
    return Query(request.query.items(), frozenset(allowed))


def _json_response(body: object, status: int, verdict: Verdict) -> web.Response:
    used = str(verdict.used_weight)
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(
        text=text,
        status=status,
        content_type="application/json",
        charset="UTF-8",
        headers={"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used},
    )
