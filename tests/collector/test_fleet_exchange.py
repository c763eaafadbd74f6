"""The fleet over real websockets against the simulated exchange."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from collector.connection import Connection
from collector.fleet import Fleet
from collector.lane import LaneState
from collector.rest import fetch_exchange_info
from collector.settings import TRANSPORTS, Settings
from sandbox.exchange.server import Exchange
from sandbox.exchange.settings import Settings as ExchangeSettings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

SECONDS = 30.0
# Enough for all of a message's fields that matter here, and quick.
_TRADE = re.compile(rb'\{"stream":"([^"]*)@trade".*?"t":(\d+)')


class Bench:
    """A fleet at a simulated exchange, and the ids that it delivered."""

    def __init__(self, exchange: Exchange, client: aiohttp.ClientSession, **changes: Any) -> None:
        self.exchange = exchange
        self._client = client
        settings = Settings(
            **{
                "ws_url": exchange.url.replace("http", "ws", 1),
                "rest_url": exchange.url,
                "quote_assets": ("*",),
                "channels": ("trade",),
                "frame_age_ms": 50,
                "exchange_info_seconds": 1,
                **changes,
            }
        )
        self.ids: dict[str, list[int]] = defaultdict(list)
        self.fleet = Fleet(settings, ask_symbols=self._ask, on_full=self._on_full)
        self.running = asyncio.create_task(self._run())

    async def sim(self, path: str) -> Any:
        method = "GET" if path in ("/sim/totals", "/sim/status") else "POST"
        async with self._client.request(method, self.exchange.url + path) as answer:
            assert answer.status == 200, await answer.text()
            return json.loads(await answer.text())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                assert not self.running.done(), self.running
                await asyncio.sleep(0.02)

    @property
    def states(self) -> dict[str, LaneState]:
        return dict(self.fleet.states())

    @property
    def streams(self) -> int:
        return sum(state.streams for state in self.states.values())

    def rotated(self, times: int) -> bool:
        return all(state.rotations >= times for state in self.states.values())

    async def quiet(self) -> dict[str, dict[str, int]]:
        """Let the market sleep, wait until all has arrived, and return what it sent by symbol."""
        await self.sim("/sim/pause")
        await asyncio.sleep(0.5)
        totals = (await self.sim("/sim/totals"))["trades"]
        return {each["symbol"].lower(): each for each in totals}

    async def _run(self) -> None:
        await self.fleet.choose()
        await self.fleet.run()

    async def _ask(self) -> list[bytes]:
        return await fetch_exchange_info(self.exchange.url, asyncio.sleep)

    def _on_full(self, connection: Connection, messages: list[bytes], _: list[int]) -> None:
        for message in messages:
            match = _TRADE.match(message)
            if match is not None:
                self.ids[match[1].decode()].append(int(match[2]))
            else:
                self.fleet.on_control(connection, json.loads(message))


@asynccontextmanager
async def bench(*, rate: int = 2000, **changes: Any) -> AsyncIterator[Bench]:
    settings = ExchangeSettings(port=0, symbols=6, rate=rate, history_s=60)
    async with Exchange(settings) as exchange, aiohttp.ClientSession() as client:
        before = asyncio.all_tasks()
        it = Bench(exchange, client, **changes)
        try:
            await it.until(lambda: it.streams and all(s.connects for s in it.states.values()))
            yield it
        finally:
            it.running.cancel()
            await asyncio.gather(it.running, return_exceptions=True)
            ours = {task for task in asyncio.all_tasks() - before if "handler" not in str(task)}
    assert not [task for task in ours if not task.done()]


def assert_complete(ids: dict[str, list[int]], sent: dict[str, dict[str, int]]) -> None:
    """Every id from the first one sent to the last one arrived at least once."""
    for symbol, totals in sent.items():
        assert set(ids[symbol]) == set(range(totals["first_id"], totals["last_id"] + 1)), symbol


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_ten_rotations_under_load_lose_nothing(transport: str) -> None:
    async with bench(transport=transport, streams_per_connection=3) as it:
        for number in range(1, 6):  # on two connections each
            if number % 2:
                it.fleet.rotate("asked to")
            else:
                await it.sim("/sim/shutdown-notice")
            await it.until(lambda number=number: it.rotated(number))
        sent = await it.quiet()
        assert len(sent) == 6
        assert_complete(it.ids, sent)
        assert sum(len(ids) - len(set(ids)) for ids in it.ids.values()) > 100, "they overlapped"
        assert [(s.failures, s.connects) for s in it.states.values()] == [(0, 6), (0, 6)]
        assert (await it.sim("/sim/status"))["connections"] == 2


async def test_old_connections_are_replaced_one_at_a_time() -> None:
    async with bench(streams_per_connection=2, rotate_seconds=1) as it:
        most = 0
        async with asyncio.timeout(SECONDS):
            while not it.rotated(1):
                most = max(most, (await it.sim("/sim/status"))["connections"])
                await asyncio.sleep(0.02)
        assert most == 4
        assert_complete(it.ids, await it.quiet())


async def test_symbols_are_followed() -> None:
    async with bench(symbols=("BTCUSDT", "ETHUSDT", "NEWUSDT")) as it:
        assert (it.streams, it.fleet.unknown_symbols) == (2, ["NEWUSDT"])
        await it.sim("/sim/list?symbol=ETHUSDT&status=BREAK")
        await it.until(lambda: it.fleet.symbols == ["BTCUSDT"] and it.streams == 1)
        before = len(it.ids["ethusdt"])
        await it.sim("/sim/list?symbol=NEWUSDT")
        await it.until(lambda: it.streams == 2)
        assert len(it.ids["ethusdt"]) == before, "it trades on, and nobody listens"
        await it.sim("/sim/list?symbol=ETHUSDT")
        await it.until(lambda: len(it.ids["ethusdt"]) > before)
        await it.sim("/sim/delist?symbol=BTCUSDT")
        await it.until(lambda: it.fleet.symbols == ["ETHUSDT", "NEWUSDT"] and it.streams == 2)
        assert it.states["trade-0"].connects == 1
        assert (await it.sim("/sim/status"))["subscriptions"] == 2


async def test_a_stalled_connection_is_replaced() -> None:
    async with bench(silence_seconds=1) as it:
        (connection,) = it.exchange.hub.live_connections()
        it.exchange.hub.unsubscribe(connection, connection.session.streams)
        await it.until(lambda: it.rotated(1))
        assert it.states["trade-0"].last_end == "silent for 1 s"
        before = {symbol: len(ids) for symbol, ids in it.ids.items()}
        await it.until(lambda: all(len(it.ids[symbol]) > count for symbol, count in before.items()))


async def test_a_cut_is_mended_at_once() -> None:
    async with bench(streams_per_connection=2) as it:
        loop = asyncio.get_running_loop()
        cut = loop.time()
        await it.sim("/sim/cut")
        await it.until(lambda: all(state.connects == 2 for state in it.states.values()))
        assert loop.time() - cut < 1
        assert {state.last_end[:9] for state in it.states.values()} == {"code 1006"}
