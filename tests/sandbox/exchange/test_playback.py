import gzip
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect

from sandbox.exchange.server import Exchange

from .conftest import running, within

pytestmark = pytest.mark.integration

GARBAGE = b"\xff\xfe no text"


def trade(symbol: str, trade_id: int) -> bytes:
    payload = {"e": "trade", "s": symbol, "t": trade_id, "p": "0.5", "q": "0.00000003"}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": payload}).encode()


def recording(folder: Path) -> tuple[Path, ...]:
    first, second = folder / "first", folder / "second.gz"
    lines = [b"wss://x", trade("AUSDT", 1), trade("BUSDT", 7), GARBAGE, b'{"result":null,"id":1}']
    first.write_bytes(b"\n".join(lines))
    second.write_bytes(gzip.compress(b"\n".join([trade("AUSDT", 2), trade("AUSDT", 2)])))
    return first, second


def ws(exchange: Exchange, path: str) -> str:
    return exchange.url.replace("http", "ws") + path


async def read(client: ClientConnection, count: int) -> list[bytes]:
    return [bytes(await within(client.recv(decode=False))) for _ in range(count)]  # type: ignore[call-overload]


async def test_every_line_is_delivered_once_and_in_order(tmp_path: Path) -> None:
    files = recording(tmp_path)
    async with (
        running(mode="recording", recordings=files) as exchange,
        aiohttp.ClientSession(exchange.url) as http,
        connect(ws(exchange, "/stream?streams=ausdt@trade")) as a,
    ):
        status = await (await http.get("/sim/status")).json()
        assert (status["symbols"], status["channels"]) == (["AUSDT", "BUSDT"], ["trade"])
        assert (status["frames_total"], status["frames_sent"]) == (6, 0)
        assert status["frames_skipped"] == 1
        assert status["done"] is False
        async with connect(ws(exchange, "/stream?streams=busdt@trade")) as b:
            expected = [trade("AUSDT", 1), GARBAGE, b'{"result":null,"id":1}']
            assert await read(a, 5) == [*expected, trade("AUSDT", 2), trade("AUSDT", 2)]
            assert await read(b, 1) == [trade("BUSDT", 7)]
        status = await (await http.get("/sim/status")).json()
        assert (status["done"], status["frames_sent"]) == (True, 6)
        rows = (await (await http.get("/sim/totals")).json())["trades"]
        assert [(r["symbol"], r["count"], r["sent"]) for r in rows] == [
            ("AUSDT", 2, 3),
            ("BUSDT", 1, 1),
        ]
        assert rows[0]["sum_quote_quantity"] == "0.00000002"  # 0.000000015 truncated, twice
        info = await (await http.get("/api/v3/exchangeInfo?symbolStatus=TRADING")).json()
        assert [s["symbol"] for s in info["symbols"]] == ["AUSDT", "BUSDT"]
        assert (await http.post("/sim/pause")).status == 409


async def test_it_can_be_told_to_start(tmp_path: Path) -> None:
    files = recording(tmp_path)
    async with (
        running(mode="recording", recordings=files) as exchange,
        aiohttp.ClientSession(exchange.url) as http,
    ):
        await http.post("/sim/start")
        async with connect(ws(exchange, "/ws")) as client:
            assert len(await read(client, 6)) == 6


async def test_the_real_recordings(recorded: Path) -> None:
    names = ("btcusdt_20240808", "ethusdt_20240808", "ethusdt_20240809")
    files = tuple(recorded / "ws" / f"{name}.spot.gz" for name in names)
    channels = ("trade", "bookTicker", "depth@100ms")
    streams = "/".join(f"{s}@{c}" for s in ("btcusdt", "ethusdt") for c in channels)
    counts: dict[str, int] = {}
    async with (
        running(mode="recording", recordings=files) as exchange,
        aiohttp.ClientSession(exchange.url) as http,
        connect(ws(exchange, f"/stream?streams={streams}"), max_size=None) as client,
    ):
        status: Any = await (await http.get("/sim/status")).json()
        for message in await read(client, status["frames_total"]):
            if b'"e":"trade"' in message:
                symbol = json.loads(message)["data"]["s"]
                counts[symbol] = counts.get(symbol, 0) + 1
        rows = (await (await http.get("/sim/totals")).json())["trades"]
        assert exchange.hub.sent_messages == status["frames_total"]
    assert counts == {"BTCUSDT": 9757, "ETHUSDT": 6106 + 8409}
    assert {row["symbol"]: row["count"] for row in rows} == counts
