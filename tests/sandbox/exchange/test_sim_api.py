import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from .conftest import eventually, running, within

pytestmark = pytest.mark.integration


async def test_totals_equal_what_was_received() -> None:
    async with running(rate=500) as exchange, aiohttp.ClientSession(exchange.url) as http:
        received: list[Any] = []
        url = exchange.url.replace("http", "ws") + "/ws/btcusdt@trade/ethusdt@trade"
        async with connect(url) as client:
            while len(received) < 50:
                received.append(json.loads(str(await within(client.recv()))))
            await http.post("/sim/pause")
            status = await (await http.get("/sim/status")).json()
            while len(received) < status["sent_messages"]:
                received.append(json.loads(str(await within(client.recv()))))
            totals = await (await http.get("/sim/totals")).json()
        assert status["paused"] is True
        assert status["connections"] == 1
        assert sum(row["count"] for row in totals["trades"]) == len(received)
        for row in totals["trades"]:
            ids = [m["t"] for m in received if m["s"] == row["symbol"]]
            assert (row["first_id"], row["last_id"]) == (ids[0], ids[-1])
            assert row["sum_ids"] == sum(ids)
        assert totals["agg_trades"] == []
        await http.post("/sim/resume")
        assert (await (await http.get("/sim/status")).json())["paused"] is False


async def test_connections_are_cut_without_a_handshake() -> None:
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as http:
        async with connect(exchange.url.replace("http", "ws") + "/ws") as client:
            await eventually(lambda: len(exchange.hub.connections) == 1)
            answer = await (await http.post("/sim/cut")).json()
            assert answer == {"connections": 1}
            with pytest.raises(ConnectionClosed) as cut:
                await within(client.recv())
            assert cut.value.rcvd is None
        await eventually(lambda: not exchange.hub.connections)


async def test_notices_klines_and_mistakes() -> None:
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as http:
        answer = await (await http.post("/sim/shutdown-notice")).json()
        assert answer == {"connections": 0}
        response = await http.get("/sim/klines?symbol=BTCUSDT&interval=1m")
        assert len((await response.json())[0]) == 12
        response = await http.get("/sim/klines?symbol=NOPE")
        assert response.status == 400
        assert "'NOPE' does not trade here" in (await response.json())["error"]
        assert (await http.get("/sim/klines?symbol=BTCUSDT&interval=9m")).status == 400


async def test_exchange_info_is_changed() -> None:
    async def statuses(http: aiohttp.ClientSession) -> dict[str, str]:
        info = await (await http.get("/api/v3/exchangeInfo")).json()
        return {entry["symbol"]: entry["status"] for entry in info["symbols"]}

    async with running(symbols=2) as exchange, aiohttp.ClientSession(exchange.url) as http:
        before = await statuses(http)
        assert before == {
            **{"BTCUSDT": "TRADING", "ETHUSDT": "TRADING"},
            **{"BCCBTC": "BREAK", "LUNABUSD": "BREAK"},
        }
        for change in (
            "list?symbol=BTCUSDT&status=HALT",
            "list?symbol=NEWUSDT",
            "delist?symbol=BCCBTC",
        ):
            assert (await http.post(f"/sim/{change}")).status == 200
        assert await statuses(http) == {
            **{"BTCUSDT": "HALT", "ETHUSDT": "TRADING"},
            **{"LUNABUSD": "BREAK", "NEWUSDT": "TRADING"},
        }
        for mistake in ("list?symbol=BTCUSDT&status=GONE", "list", "delist?symbol=BCCBTC"):
            assert (await http.post(f"/sim/{mistake}")).status == 400
        trades = await (await http.get("/api/v3/historicalTrades?symbol=NEWUSDT")).json()
        assert trades == []


async def test_a_hurry_reaches_the_walls_time() -> None:
    start = int((datetime.now(UTC) - timedelta(hours=3)).timestamp() * 1_000_000)
    settings = {"rate": 500, "calm_rate": 0.5, "start_us": start, "history_s": 60}
    async with running(**settings) as exchange, aiohttp.ClientSession(exchange.url) as http:
        async with http.post("/sim/hurry?seconds=nan") as answer:
            assert answer.status == 400
            assert "seconds: expected above 0" in await answer.text()
        ends = (await (await http.post("/sim/hurry?seconds=0.5")).json())["hurry_ends"]

        await eventually(lambda: not exchange.clock.is_hurrying)
        status = await (await http.get("/sim/status")).json()
        assert status["hurry_ends"] == ends
        assert abs(datetime.now(UTC) - datetime.fromisoformat(status["now"])) < timedelta(seconds=2)
        bars: list[Any] = []
        while len(bars) < 3:  # the clock is there; the market follows, as fast as it can
            bars = await (await http.get("/sim/klines?symbol=BTCUSDT&interval=1h")).json()
            await asyncio.sleep(0.01)
