"""Faults on the wire, as a client meets them."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sandbox.exchange.limits import Limits
from sandbox.exchange.server import Exchange

from .conftest import eventually, running, within

pytestmark = pytest.mark.integration


async def add(http: aiohttp.ClientSession, **fault: object) -> dict[str, Any]:
    async with http.post("/sim/faults", json=fault) as answer:
        assert answer.status == 201, await answer.text()
        return dict(await answer.json())


def btcusdt(exchange: Exchange) -> connect:
    return connect(exchange.url.replace("http", "ws") + "/ws/btcusdt@trade")


async def ids_until(client: ClientConnection, count: int) -> list[int]:
    return [json.loads(str(await within(client.recv())))["t"] for _ in range(count)]


async def test_dropped_trades_are_counted_and_rest_has_them() -> None:
    async with running(rate=800) as exchange, aiohttp.ClientSession(exchange.url) as http:
        async with btcusdt(exchange) as client:
            first = (await ids_until(client, 1))[0]
            await add(http, what="drop", symbol="BTCUSDT", from_id=first + 20, count=5)
            ids = await ids_until(client, 60)
            missing = sorted(set(range(first + 1, ids[-1] + 1)) - set(ids))
            assert missing == list(range(first + 20, first + 25))
            await http.post("/sim/pause")
            totals = await (await http.get("/sim/totals")).json()
            (account,) = [row for row in totals["trades"] if row["symbol"] == "BTCUSDT"]
            assert account["count"] == account["last_id"] - account["first_id"] + 1
        (told,) = (await (await http.get("/sim/faults")).json())["faults"]
        assert (told["ids"], told["struck"], told["is_over"]) == (missing, 5, True)
        path = f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={missing[0]}&limit=5"
        rows = await (await http.get(path)).json()
        assert [row["id"] for row in rows] == missing


async def test_a_cut_refuses_new_connections_for_a_while() -> None:
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as http:
        async with btcusdt(exchange) as client:
            assert (await add(http, what="cut", seconds=0.3))["struck"] == 1
            with pytest.raises(ConnectionClosed):
                await ids_until(client, 10_000)
        with pytest.raises(InvalidStatus, match="503"):
            await btcusdt(exchange)
        await asyncio.sleep(0.3)
        async with btcusdt(exchange) as client:
            assert await ids_until(client, 1)


async def test_a_frame_ends_in_the_middle() -> None:
    async with (
        running(rate=800) as exchange,
        aiohttp.ClientSession(exchange.url) as http,
        btcusdt(exchange) as client,
    ):
        await ids_until(client, 1)
        await add(http, what="half_frame", symbol="BTCUSDT")
        with pytest.raises(ConnectionClosed) as caught:
            await ids_until(client, 10_000)
        assert caught.value.rcvd is None


async def test_a_stalled_connection_is_open_and_silent() -> None:
    async with (
        running(rate=800) as exchange,
        aiohttp.ClientSession(exchange.url) as http,
        btcusdt(exchange) as client,
    ):
        ids = await ids_until(client, 3)
        await add(http, what="stall", seconds=0.4)
        began = time.monotonic()
        while ids[-1] == ids[0] + len(ids) - 1:
            ids += await ids_until(client, 1)
        assert ids[-1] > ids[-2] + 1
        assert time.monotonic() - began > 0.35


async def test_a_shutdown_is_announced_and_done() -> None:
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as http:
        url = exchange.url.replace("http", "ws") + "/ws"
        async with connect(url) as client:
            await eventually(lambda: len(exchange.hub.connections) == 1)
            await add(http, what="shutdown", seconds=0.2)
            assert json.loads(str(await within(client.recv())))["e"] == "serverShutdown"
            with pytest.raises(ConnectionClosed) as caught:
                await within(client.recv())
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001


async def test_no_pings_come() -> None:
    limits = Limits().override("ping_interval_s", "0.05")
    async with running(limits=limits) as exchange, aiohttp.ClientSession(exchange.url) as http:
        await add(http, what="no_ping", seconds=0.3)
        async with http.ws_connect("/ws", autoping=False) as client:
            began = time.monotonic()
            assert (await within(client.receive())).type is aiohttp.WSMsgType.PING  # type: ignore[attr-defined]
            assert time.monotonic() - began > 0.25


async def test_rest_refuses_hangs_and_lies() -> None:
    path = "/api/v3/historicalTrades?symbol=BTCUSDT"
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as http:
        await add(http, what="rest_status", status=429, retry_after=7, count=1, path="Trades")
        assert (await http.get("/api/v3/time")).status == 200
        answer = await http.get(path)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        await add(http, what="rest_status", status=418, retry_after=9, count=1)
        answer = await http.get(path)
        assert (answer.status, (await answer.json())["code"]) == (418, -1003)
        await add(http, what="rest_status", status=503, count=1)
        assert (await http.get(path)).status == 503
        await add(http, what="rest_garbage", count=1, seed=3)
        body = await (await http.get(path)).read()
        assert not body.startswith(b'[{"id":1') or not body.endswith(b"]")
        await add(http, what="rest_timeout", delay_seconds=0.1, count=2)
        with pytest.raises(aiohttp.ClientError):
            await http.get(path)
        assert (await http.get(path)).status == 200


async def test_the_list_and_the_clock_change() -> None:
    async with running(symbols=2) as exchange, aiohttp.ClientSession(exchange.url) as http:
        await add(http, what="list", symbol="BTCUSDT", status="BREAK")
        await add(http, what="delist", symbol="ETHUSDT")
        info = await (await http.get("/api/v3/exchangeInfo")).json()
        shown = {entry["symbol"]: entry["status"] for entry in info["symbols"]}
        assert shown["BTCUSDT"] == "BREAK"
        assert "ETHUSDT" not in shown
        async with btcusdt(exchange) as client:
            before = json.loads(str(await within(client.recv())))
            now = exchange.clock.now_us()
            await add(http, what="clock_jump", seconds=3600)
            assert exchange.clock.now_us() - now >= 3600 * 1_000_000
            ids, times = [before["t"]], [before["T"]]
            while times[-1] - times[0] < 3_500_000:
                message = json.loads(str(await within(client.recv())))
                ids.append(message["t"])
                times.append(message["T"])
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            assert times == sorted(times)


async def test_mistakes_and_removal() -> None:
    async with running() as exchange, aiohttp.ClientSession(exchange.url) as http:
        for body in ({"what": "dorp"}, {"what": "delist", "symbol": "NOPE"}, 3):
            async with http.post("/sim/faults", json=body) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"].startswith("fault: ")
        added = await add(http, what="drop")
        assert (await http.delete(f"/sim/faults/{added['id']}")).status == 200
        assert (await http.delete(f"/sim/faults/{added['id']}")).status == 404
        await add(http, what="drop")
        await http.delete("/sim/faults")
        assert not exchange.faults.strikes_messages
