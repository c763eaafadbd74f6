"""The fleet over a fake exchange, on a loop whose clock jumps (see `virtual_time`)."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from collector import fleet as module
from collector.connection import Connection
from collector.fleet import Fleet
from collector.rest import ExchangeError
from collector.selection import SelectionError
from collector.settings import Settings
from tests.collector.fake_exchange import FakeExchange, FakeLink, now

ASK_SECONDS = 60


class Bench:
    """A fleet, its exchange and what exchangeInfo says."""

    def __init__(self, exchange: FakeExchange, **changes: Any) -> None:
        self.exchange = exchange
        self.listed: dict[str, str] = {"BTCUSDT": "TRADING", "ETHUSDT": "TRADING"}
        self.error: Exception | None = None
        settings = Settings(
            **{"channels": ("trade",), "exchange_info_seconds": ASK_SECONDS, **changes}
        )
        self.fleet = Fleet(settings, ask_symbols=self._ask, on_full=self._on_full)
        self.complaints = 0
        self.running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.fleet.choose()
        self.running = asyncio.create_task(self.fleet.run())
        await self.settled()

    async def settled(self) -> None:
        """Wait until everything is subscribed."""
        await asyncio.sleep(5)

    async def told(self) -> None:
        """Wait until exchangeInfo has been asked again and acted upon."""
        await asyncio.sleep(ASK_SECONDS + 2)

    @property
    def streams(self) -> list[set[str]]:
        return [link.streams for link in self.exchange.open_links]

    async def _ask(self) -> list[bytes]:
        if self.error is not None:
            raise self.error
        return [
            json.dumps({"symbol": symbol, "status": status, "quoteAsset": "USDT"}).encode()
            for symbol, status in self.listed.items()
        ]

    def _on_full(self, connection: Connection, messages: list[bytes], _: list[int]) -> None:
        for message in messages:
            if b'"data"' not in message:
                self.complaints += self.fleet.on_control(connection, json.loads(message))


@asynccontextmanager
async def bench(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> AsyncIterator[Bench]:
    exchange = FakeExchange()
    monkeypatch.setattr(module, "load_transport", lambda _: exchange)
    it = Bench(exchange, **{"silence_seconds": 3600, **changes})
    try:
        yield it
    finally:
        if it.running is not None:
            it.running.cancel()
            await asyncio.gather(it.running, return_exceptions=True)
    assert exchange.open_links == []


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_lane_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch, channels=("trade", "kline_1m")) as it:
        await it.start()
        assert it.streams == [
            {"btcusdt@trade", "ethusdt@trade"},
            {"btcusdt@kline_1m", "ethusdt@kline_1m"},
        ]
        states = dict(it.fleet.states())
        assert {name: (state.is_open, state.streams) for name, state in states.items()} == {
            "trade-0": (True, 2),
            "kline_1m-0": (True, 2),
        }


async def test_a_listing_is_followed_on_the_open_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(monkeypatch) as it:
        caplog.set_level("INFO")
        await it.start()
        it.listed["NEWUSDT"] = "BREAK"
        await it.told()
        assert it.streams == [{"btcusdt@trade", "ethusdt@trade"}]
        it.listed["NEWUSDT"] = "TRADING"
        await it.told()
        assert it.streams == [{"btcusdt@trade", "ethusdt@trade", "newusdt@trade"}]
        assert it.fleet.symbols == ["BTCUSDT", "ETHUSDT", "NEWUSDT"]
        assert dict(it.fleet.states())["trade-0"].streams == 3
        assert len(it.exchange.links) == 1
        assert "symbols to follow: NEWUSDT; no more: none" in caplog.messages


@pytest.mark.parametrize("status", ["BREAK", "HALT", None])
async def test_what_trades_no_more_is_dropped(
    monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    async with bench(monkeypatch) as it:
        await it.start()
        if status is None:
            del it.listed["BTCUSDT"]
        else:
            it.listed["BTCUSDT"] = status
        await it.told()
        assert it.streams == [{"ethusdt@trade"}]
        assert dict(it.fleet.states())["trade-0"].streams == 1


async def test_no_room_takes_another_connection_and_gives_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(monkeypatch, streams_per_connection=2) as it:
        await it.start()
        it.listed["NEWUSDT"] = "TRADING"
        await it.told()
        assert it.streams == [{"btcusdt@trade", "ethusdt@trade"}, {"newusdt@trade"}]
        del it.listed["NEWUSDT"]
        await it.told()
        assert it.streams == [{"btcusdt@trade", "ethusdt@trade"}]
        assert [name for name, _ in it.fleet.states()] == ["trade-0"]
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not any(name.startswith(("trade-1", "read trade-1")) for name in names)


async def test_many_new_symbols_keep_within_the_message_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(monkeypatch) as it:
        await it.start()
        it.listed |= {f"N{number}USDT": "TRADING" for number in range(900)}
        await it.told()
        (link,) = it.exchange.open_links
        times = [time for time, _ in link.sent]
        assert len(times) == 1 + 5
        assert all(b - a >= 0.25 for a, b in itertools.pairwise(times))
        assert len(link.streams) == 902


async def test_of_a_list_only_its_symbols(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(monkeypatch, symbols=("BTCUSDT", "SOONUSDT")) as it:
        await it.start()
        assert it.streams == [{"btcusdt@trade"}]
        assert it.fleet.unknown_symbols == ["SOONUSDT"]
        it.listed |= {"SOONUSDT": "BREAK", "OTHERUSDT": "TRADING"}
        await it.told()
        assert it.streams == [{"btcusdt@trade"}]
        assert it.fleet.unknown_symbols == []
        it.listed["SOONUSDT"] = "TRADING"
        await it.told()
        assert it.streams == [{"btcusdt@trade", "soonusdt@trade"}]
        warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
        assert [text for text in warnings if "SOONUSDT" in text] == [
            "BINANCE_SYMBOLS: the exchange has no symbol SOONUSDT; followed when it is listed"
        ]


async def test_a_list_that_does_not_trade_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(monkeypatch, symbols=("SOONUSDT",)) as it:
        it.listed["SOONUSDT"] = "BREAK"
        await it.start()
        assert it.streams == []
        it.listed["SOONUSDT"] = "TRADING"
        await it.told()
        await it.settled()
        assert it.streams == [{"soonusdt@trade"}]


@pytest.mark.parametrize("error", [ExchangeError("HTTP 403: WAF"), None])
async def test_what_is_wrong_later_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    async with bench(monkeypatch) as it:
        await it.start()
        if error is None:
            it.listed.clear()
        it.error = error
        await it.told()
        assert it.streams == [{"btcusdt@trade", "ethusdt@trade"}]
        assert any(text.startswith("symbols stay as they were") for text in caplog.messages)


async def test_what_is_wrong_at_the_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch, symbols=("NOPEUSDT",)) as it:
        with pytest.raises(SelectionError, match="NOPEUSDT"):
            await it.start()


async def test_a_complaint_is_logged_with_its_streams(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(link: FakeLink, message: dict[str, Any]) -> None:
        link.tell({"code": 2, "msg": "Invalid request"})

    async with bench(monkeypatch, symbols=("BTCUSDT",)) as it:
        it.exchange.on_message = refuse
        await it.start()
        assert it.complaints == 1
        assert dict(it.fleet.states())["trade-0"].refused == 1
        assert (
            "the exchange answered 2: Invalid request, to SUBSCRIBE of btcusdt@trade on trade-0#1"
            in caplog.messages
        )


async def test_rotations_of_many_lanes_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(monkeypatch, streams_per_connection=1, rotate_seconds=60) as it:
        it.listed["NEWUSDT"] = "TRADING"
        await it.start()
        most = 0
        while now() < 240:
            most = max(most, len(it.exchange.open_links))
            for link in it.exchange.open_links:
                link.deliver(b'{"stream":"x","data":{}}')
            await asyncio.sleep(0.5)
        states = dict(it.fleet.states()).values()
        assert all(state.rotations >= 3 and state.failures == 0 for state in states)
        assert most == 3 + 1
