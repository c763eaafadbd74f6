import json

import aiohttp
import pytest
from websockets.asyncio.client import connect

from .conftest import running, within

pytestmark = pytest.mark.integration


async def test_a_burst_of_trades_with_consecutive_ids() -> None:
    async with running(firehose=2001, symbols=20) as exchange:
        url = exchange.url.replace("http", "ws") + "/stream?streams=btcusdt@trade"
        last: dict[str, int] = {}
        async with connect(url) as client, aiohttp.ClientSession(exchange.url) as http:
            for _ in range(2001):
                message = json.loads(str(await within(client.recv())))
                trade = message["data"]
                assert message["stream"] == f"{trade['s'].lower()}@trade"
                assert trade["t"] == last.get(trade["s"], trade["t"] - 1) + 1
                last[trade["s"]] = trade["t"]
            totals = (await (await http.get("/sim/totals")).json())["trades"]
            status = await (await http.get("/sim/status")).json()
        assert (status["mode"], status["done"], status["sent_messages"]) == ("firehose", True, 2001)
        assert sum(row["count"] for row in totals) == 2001
        assert {row["symbol"]: row["last_id"] for row in totals} == last
