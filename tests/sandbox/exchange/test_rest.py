import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sandbox.exchange.faults import FaultPlan
from sandbox.exchange.history import NoHistory
from sandbox.exchange.limits import Limits
from sandbox.exchange.listings import Listings
from sandbox.exchange.rest import RestApi

from .conftest import running


async def get(session: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, Any, Any]:
    async with session.get(path, headers=headers) as response:
        return response.status, await response.json(), response.headers


async def test_answers_weights_and_headers() -> None:
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as session:
        status, body, headers = await get(session, "/api/v3/ping")
        assert (status, body) == (200, {})
        assert headers["X-MBX-USED-WEIGHT-1M"] == "1"
        assert headers["Content-Type"] == "application/json; charset=UTF-8"
        _, body, headers = await get(session, "/api/v3/time")
        assert list(body) == ["serverTime"]
        assert len(str(body["serverTime"])) == 13
        _, body, _ = await get(session, "/api/v3/time", **{"X-MBX-TIME-UNIT": "MICROSECOND"})
        assert len(str(body["serverTime"])) == 16
        _, body, headers = await get(session, "/api/v3/exchangeInfo")
        assert headers["X-MBX-USED-WEIGHT-1M"] == "23"
        statuses = [symbol["status"] for symbol in body["symbols"]]
        assert statuses == ["TRADING"] * 8 + ["BREAK"] * 2
        for path, weight in [("trades", 48), ("historicalTrades", 73), ("aggTrades", 77)]:
            _, body, headers = await get(session, f"/api/v3/{path}?symbol=BTCUSDT&limit=3")
            assert len(body) == 3
            assert headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
        _, body, headers = await get(session, "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=2")
        assert len(body) == 2
        assert headers["X-MBX-USED-WEIGHT-1M"] == "79"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("klines?symbol=BTCUSDT&interval=1x", -1120),
        ("klines?symbol=BTCUSDT&interval=1M", -1120),
        ("klines?symbol=BTCUSDT", -1102),
        ("klines?symbol=BTCUSDT&interval=1m&timeZone=8", -1130),
        ("klines?symbol=NOPE&interval=1m", -1121),
        ("aggTrades?symbol=BTCUSDT&fromId=1&startTime=1", -1128),
        ("trades", -1102),
        ("trades?symbol=BTCUSDT&fromId=5", -1104),
        ("historicalTrades?symbol=BTCUSDT&fromId=x", -1100),
    ],
)
async def test_refusals(path: str, code: int) -> None:
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as session:
        status, body, headers = await get(session, f"/api/v3/{path}")
        assert (status, body["code"]) == (400, code)
        assert headers["X-MBX-USED-WEIGHT-1M"]


async def test_too_much_weight_is_429_and_going_on_is_418() -> None:
    limits = Limits(weight_per_minute=3, rejections_until_ban=1)
    rest = RestApi(
        Listings([]), NoHistory(), limits, lambda: 0, lambda: 90.5, FaultPlan(lambda: 0.0)
    )
    app = web.Application()
    app.add_routes(rest.routes())
    async with TestClient(TestServer(app)) as client:
        answers = [await client.get("/api/v3/ping") for _ in range(6)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 418, 418]
        assert (await answers[3].json())["code"] == -1003
        assert [answers[i].headers["Retry-After"] for i in (3, 4)] == ["30", "120"]
        assert "IP banned until 210500." in (await answers[4].json())["msg"]


async def test_shapes_are_the_recorded_ones(recorded: Path) -> None:
    def body_of(name: str) -> Any:
        [exchange] = json.loads((recorded / "rest" / name).read_text())
        return json.loads(exchange["response"]["body"])

    async with running() as exchange, aiohttp.ClientSession(exchange.url) as session:
        for path, name in [
            ("historicalTrades?symbol=BTCUSDT&limit=1", "get_historical_trades_ok.json"),
            ("klines?symbol=BTCUSDT&interval=1h", "get_klines_ok.json"),
        ]:
            _, ours, _ = await get(session, f"/api/v3/{path}")
            real = body_of(name)[0]
            assert [type(value) for value in ours[0]] == [type(value) for value in real]
            if isinstance(real, dict):
                assert list(ours[0]) == list(real)
                assert [type(v) for v in ours[0].values()] == [type(v) for v in real.values()]
        _, ours, _ = await get(session, "/api/v3/klines?symbol=LTCBTC&interval=1")
        assert ours["code"] == -1121  # 8 symbols only; the interval is checked after the symbol
        _, ours, _ = await get(session, "/api/v3/klines?symbol=BTCUSDT&interval=1")
        assert ours == body_of("get_klines_interval_err.json")
