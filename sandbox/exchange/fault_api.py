"""/sim/faults: adds, lists and removes what goes wrong on purpose.

`POST` takes the fields of `faults.Fault` and answers `{"id": …, "struck": connections}`; `GET`
lists every fault with how often it struck and which ids; `DELETE` ends all, `DELETE /sim/faults/ID`
one. A mistake is answered 400 or 404 with `{"error": …}`.
"""

from __future__ import annotations

import json

from aiohttp import web

from sandbox.exchange.clock import SimulatedClock
from sandbox.exchange.faults import Fault, FaultPlan, parse_fault
from sandbox.exchange.feed import MarketFeed
from sandbox.exchange.listings import Listings
from sandbox.exchange.websocket_api import WebsocketApi


class FaultApi:
    """Handlers of the endpoints for faults.

    Args:
        plan: what is in force.
        websockets: whose connections are cut, stalled and closed.
        listings: what exchangeInfo lists.
        clock: of the exchange.
        feed: the market, None when a recording is served.
    """

    def __init__(
        self,
        plan: FaultPlan,
        websockets: WebsocketApi,
        listings: Listings,
        clock: SimulatedClock,
        feed: MarketFeed | None,
    ) -> None:
        self._plan = plan
        self._websockets = websockets
        self._listings = listings
        self._clock = clock
        self._feed = feed

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to an application."""
        return [
            web.get("/sim/faults", self._list),
            web.post("/sim/faults", self._add),
            web.delete("/sim/faults", self._clear),
            web.delete("/sim/faults/{id}", self._remove),
        ]

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response({"faults": self._plan.describe()})

    async def _add(self, request: web.Request) -> web.Response:
        try:
            fault = parse_fault(json.loads(await request.text()))
            struck = self._strike(fault)
        except ValueError as error:
            return web.json_response({"error": f"fault: {error}"}, status=400)
        return web.json_response(
            {"id": self._plan.add(fault, struck), "struck": struck}, status=201
        )

    async def _clear(self, _request: web.Request) -> web.Response:
        self._plan.clear()
        return web.json_response({"faults": []})

    async def _remove(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        if not number.isdecimal() or not self._plan.remove(int(number)):
            error = f"no fault {number} in force; see GET /sim/faults"
            return web.json_response({"error": error}, status=404)
        return web.json_response({"id": int(number)})

    def _strike(self, fault: Fault) -> int:
        """Do at once what a fault does at once; return how many connections it struck.

        Raises:
            ValueError: it cannot be done.
        """
        seconds = fault.seconds or 0.0
        if fault.what == "cut":
            return self._websockets.cut(fault.connections)
        if fault.what == "stall":
            return self._websockets.stall(seconds, fault.connections)
        if fault.what == "shutdown":
            return self._websockets.shut_down(seconds)
        if fault.what == "list":
            self._listings.set_status(fault.symbol or "", str(fault.status or "TRADING"))
        elif fault.what == "delist":
            self._listings.delist(fault.symbol or "")
        elif fault.what == "clock_jump":
            self._jump(seconds)
        return 0

    def _jump(self, seconds: float) -> None:
        """Let the clock jump; the trades go on where they were, so no id is ever skipped."""
        if self._feed is None:
            raise ValueError("clock_jump: a recording has no clock; use mode simulated")
        timeline, was_paused = self._feed.tape.timeline, self._feed.tape.timeline.paused
        timeline.pause(self._clock.now_us())
        self._clock.jump(seconds)
        if not was_paused:
            timeline.resume(self._clock.now_us())
