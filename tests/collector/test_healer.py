"""The healer against a scripted REST: every hole has an end, and the right one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from collector.continuity import Continuity
from collector.healer import GIVE_UP_SECONDS, MAX_LOOKS, REFUSED_SECONDS, Healer
from collector.intake import Intake
from collector.rest import ExchangeError, UnavailableError
from collector.sealing import SealedFrame, Sealer
from market_data.batches import decode_batch
from market_data.decode import Origin
from market_data.frames import decode_frame, split_lines
from tests.collector.test_sealing import TIME_NS, envelope, trade

START = TIME_NS // 1000
SYMBOL = "BTCUSDT"
Row = dict[str, Any]


def trade_row(number: int) -> Row:
    return {
        "id": number, "price": "2.50000000", "qty": "0.20000000", "quoteQty": "0.5",
        "time": 1_770_000_000_000 + number, "isBuyerMaker": True, "isBestMatch": True,
    }  # fmt: skip


def aggregate_row(number: int, first: int, last: int) -> Row:
    """An aggregate at the time of its last trade."""
    return {
        "a": number, "p": "2.50000000", "q": "0.20000000", "f": first, "l": last,
        "T": 1_770_000_000_000 + last, "m": True, "M": True,
    }  # fmt: skip


def aggregate(number: int) -> bytes:
    payload = {"e": "aggTrade", "E": 1, "s": SYMBOL} | aggregate_row(number, number, number)
    return envelope("btcusdt@aggTrade", payload | {"E": payload["T"]})


class Exchange:
    """REST: rows by endpoint, and what else it answers first."""

    def __init__(self) -> None:
        self.trades = [trade_row(number) for number in range(1, 3_000)]
        self.aggregates: list[Row] = []
        self.script: list[Exception | bytes] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.weight = 0
        self.seconds = 0.1

    async def get(self, path: str, parameters: Mapping[str, str], weight: int) -> bytes:
        self.asked.append((path, dict(parameters)))
        self.weight += weight
        await asyncio.sleep(self.seconds)
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        is_trades = path == "/api/v3/historicalTrades"
        rows = self.trades if is_trades else self.aggregates
        if "fromId" in parameters:
            key, first = "id" if is_trades else "a", int(parameters["fromId"])
            found = [row for row in rows if row[key] >= first]
        else:
            start, end = int(parameters["startTime"]), int(parameters["endTime"])
            found = [row for row in rows if start <= row["T"] <= end]
        return json.dumps(found[: int(parameters["limit"])]).encode()


class Spool:
    """Keeps what would be spooled."""

    is_full = False
    has_room = True

    def __init__(self) -> None:
        self.frames: list[SealedFrame] = []

    def put(self, *frames: SealedFrame) -> None:
        self.frames += frames


class Bench:
    """Intake and healer over a virtual clock."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.spool = Spool()
        self.continuity = Continuity("spot")
        loop = asyncio.get_running_loop()

        def now() -> int:
            return START + int(loop.time() * 1_000_000)

        self.intake = Intake(
            Sealer(market="spot", collector="c1", epoch=7, with_quantities=False),
            self.continuity,
            self.spool,  # type: ignore[arg-type]
            run_id="c1/7",
            frame_bytes=10**6,
            heal_max_ids=100_000,
            grace=1.0,
            now=now,
        )
        self.healer = Healer(
            self.continuity,
            self.exchange,  # type: ignore[arg-type]
            self.intake,
            grace=1.0,
            now=now,
        )

    def receive(self, *numbers: int, make: Callable[[int], bytes] = trade) -> None:
        messages = [make(number) for number in numbers]
        self.intake.take("t#1", messages, [TIME_NS] * len(messages), overlaps=False)

    def records(self) -> list[Row]:
        return [
            json.loads(line)["data"]
            for frame in self.spool.frames
            if frame.header.channel == "hole"
            for line in split_lines(decode_frame(frame.data).body)
        ]

    def outcomes(self) -> list[tuple[int, int, str]]:
        return [
            (row["first_missing_id"], row["last_missing_id"], row["outcome"])
            for row in self.records()
        ]

    async def settled(self) -> list[tuple[int, int, str]]:
        """Wait until no hole is open and return what became of all."""
        while self.continuity.missing_ids:  # noqa: ASYNC110 # the clock jumps
            await asyncio.sleep(0.5)
        return self.outcomes()


@asynccontextmanager
async def healing() -> AsyncIterator[Bench]:
    it = Bench()
    task = asyncio.create_task(it.healer.run())
    try:
        yield it
        assert not task.done(), task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_hole_is_healed_page_by_page_at_25_of_weight_each() -> None:
    async with healing() as it:
        it.receive(1, 2502)
        assert await it.settled() == [(2, 2501, "healed")]
    assert [(path, asked["fromId"]) for path, asked in it.exchange.asked] == [
        ("/api/v3/historicalTrades", first) for first in ("2", "1002", "2002")
    ]
    assert it.exchange.weight == 75
    (record,) = it.records()
    assert record["frames"] == "c1/7/2, c1/7/3, c1/7/4"
    assert (record["cause"], record["missing"], record["run_id"]) == ("unknown", 2500, "c1/7")
    assert START < record["found_at"] + 1_000_000 < record["closed_at"]
    headers = [frame.header for frame in it.spool.frames[1:]]
    assert [(h.channel, h.source, h.lines) for h in headers] == [
        *[("trade", "rest", 1000), ("trade", "rest", 1000), ("trade", "rest", 500)],
        ("hole", "rest", 1),
    ]
    assert it.spool.frames[-2].open_holes == {("trade", SYMBOL): b"[]"}


async def test_healed_lines_are_those_of_the_stream() -> None:
    async with healing() as it:
        it.receive(1, 3)
        await it.settled()
    stream, rest = (decode_frame(frame.data) for frame in it.spool.frames[:2])
    origin = Origin("spot", "rest", "c1", "f", datetime.now(UTC))
    (row,) = decode_batch(rest.body, "trade", origin).rows.to_pylist()
    one, _ = decode_batch(stream.body, "trade", origin).rows.to_pylist()
    assert row["traded_at"] == row["event_at"]
    own = ("trade_id", "traded_at", "event_at", "received_at")
    assert {k: v for k, v in row.items() if k not in own} == {
        k: v for k, v in one.items() if k not in own
    }


async def test_ids_that_come_by_themselves_within_the_grace_were_never_missing() -> None:
    async with healing() as it:
        it.receive(1, 5)
        await asyncio.sleep(0.5)
        it.receive(2, 3, 4)
        await asyncio.sleep(5)
    assert (it.exchange.asked, it.records(), it.intake.late) == ([], [], 3)


async def test_ids_that_come_by_themselves_later_are_recorded() -> None:
    async with healing() as it:
        it.exchange.trades = []
        it.receive(1, 5)
        await asyncio.sleep(2)
        it.receive(2, 3, 4)
        await asyncio.sleep(0)
    assert it.outcomes() == [(2, 4, "healed")]
    assert it.spool.frames[-1].header.source == "stream"


async def test_ids_that_were_never_traded_have_two_witnesses() -> None:
    async with healing() as it:
        it.exchange.trades = [trade_row(number) for number in (1, 2, 3, 6, 7, 9)]
        it.exchange.trades[3]["time"] = it.exchange.trades[4]["time"]  # of one aggregate
        it.exchange.aggregates = [
            aggregate_row(50, 1, 2), aggregate_row(51, 3, 3), aggregate_row(52, 6, 7),
            aggregate_row(53, 9, 9),
        ]  # fmt: skip
        it.receive(1, 9)
        assert await it.settled() == [
            (2, 3, "healed"),
            (4, 5, "absent_at_source"),
            (6, 7, "healed"),
            (8, 8, "absent_at_source"),
        ]
    assert it.records()[1]["witnesses"] == (
        "REST: trades have 3 and 6, nothing in between;"
        " aggregate 51 ends with trade 3, 52 begins with 6"
    )
    assert it.intake.ended == {"healed": 4, "absent_at_source": 3}


async def test_absent_between_two_pages() -> None:
    async with healing() as it:
        it.exchange.trades = [trade_row(n) for n in range(1, 1_500) if n != 1_002]
        it.exchange.aggregates = [aggregate_row(n, n, n) for n in (1_000, 1_001)]
        it.exchange.aggregates += [aggregate_row(1_002, 1_003, 1_003)]
        it.receive(1, 1_200)
        assert (await it.settled())[1] == (1_002, 1_002, "absent_at_source")
    assert [asked.get("fromId") for _, asked in it.exchange.asked] == ["2", "1002", None]


async def test_absent_from_the_first_id_on() -> None:
    async with healing() as it:
        it.exchange.trades = [trade_row(number) for number in (1, 4)]
        it.exchange.aggregates = [aggregate_row(50, 1, 1), aggregate_row(51, 4, 4)]
        it.receive(1, 4)
        assert await it.settled() == [(2, 3, "absent_at_source")]
    assert [asked.get("fromId") for _, asked in it.exchange.asked] == ["2", "1", None]


@pytest.mark.parametrize(
    "aggregates",
    [
        [],
        [aggregate_row(50, 1, 1), aggregate_row(52, 4, 4)],
        [aggregate_row(50, 1, 1), aggregate_row(51, 2, 4)],
    ],
    ids=["none", "one is missing between", "one has them"],
)
async def test_one_witness_is_not_enough(aggregates: list[Row]) -> None:
    async with healing() as it:
        it.exchange.trades = [trade_row(number) for number in (1, 4)]
        it.exchange.aggregates = aggregates
        it.receive(1, 4)
        assert await it.settled() == [(2, 3, "failed")]
    assert "the aggregates do not confirm" in it.records()[0]["detail"]
    assert "closed_at" not in it.records()[0]
    assert len(it.exchange.asked) == 3 * MAX_LOOKS


async def test_a_source_that_is_behind_is_asked_again() -> None:
    async with healing() as it:
        known, it.exchange.trades = it.exchange.trades, []
        it.receive(1, 4)
        await asyncio.sleep(4)
        assert it.outcomes() == []
        it.exchange.trades = known
        assert await it.settled() == [(2, 3, "healed")]


async def test_what_the_source_never_has_fails() -> None:
    async with healing() as it:
        it.exchange.trades = [trade_row(2)]
        it.receive(1, 4)
        assert await it.settled() == [(2, 2, "healed"), (3, 3, "failed")]
    assert "has nothing behind them yet" in it.records()[1]["detail"]


@pytest.mark.parametrize("status", [401, 403, 404, 451])
async def test_an_endpoint_that_refuses_us_is_left_alone(status: int) -> None:
    async with healing() as it:
        it.exchange.script = [ExchangeError(f"HTTP {status}: no", status)]
        it.receive(1, 4)
        assert await it.settled() == [(2, 3, "handed_over")]
        it.receive(6)
        await it.settled()
        assert len(it.exchange.asked) == 1
        await asyncio.sleep(REFUSED_SECONDS)
        it.receive(9)
        assert (await it.settled())[-1] == (7, 8, "healed")
    assert [row["detail"] for row in it.records()[:2]] == [f"HTTP {status}: no"] * 2
    assert it.spool.frames[1].header.source == "stream"


async def test_a_symbol_that_is_refused_concerns_no_other() -> None:
    async with healing() as it:
        it.exchange.script = [ExchangeError("HTTP 400: Invalid symbol.", 400)]
        it.receive(1, 4)
        await it.settled()
        it.receive(6)
        assert await it.settled() == [(2, 3, "handed_over"), (5, 5, "healed")]


@pytest.mark.parametrize(
    "trouble",
    [
        UnavailableError("HTTP 503"),
        b"<html>",
        b"{}",
        b'[{"id":"2"}]',
        b"[]",
        json.dumps([trade_row(3), trade_row(2)]).encode(),
        json.dumps([trade_row(1), trade_row(2)]).encode(),
    ],
    ids=["5xx", "HTML", "no list", "wrong type", "empty", "falling ids", "ids below"],
)
async def test_what_may_pass_is_asked_again(trouble: Exception | bytes) -> None:
    async with healing() as it:
        it.exchange.script = [trouble] * 3
        it.receive(1, 4)
        assert await it.settled() == [(2, 3, "healed")]
    assert len(it.exchange.asked) == 4


async def test_after_an_hour_of_trouble_it_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.healer._IDLE_SECONDS", 5.0)
    async with healing() as it:
        it.exchange.script = [UnavailableError("HTTP 503")] * 1_000
        it.receive(1, 4)
        assert await it.settled() == [(2, 3, "handed_over")]
        seconds = asyncio.get_running_loop().time()
    assert GIVE_UP_SECONDS < seconds < GIVE_UP_SECONDS + 70
    assert it.records()[0]["detail"] == "HTTP 503"
    assert len(it.exchange.asked) < 100


async def test_rows_that_no_frame_can_count_fail_and_end() -> None:
    async with healing() as it:
        it.exchange.trades[1] |= {"price": "-1"}
        it.receive(1, 3)
        assert await it.settled() == [(2, 2, "failed")]


async def test_the_newest_holes_first_of_these_the_smallest() -> None:
    async with healing() as it:
        it.exchange.seconds = 0.0
        it.intake.is_dropping = True
        it.receive = lambda *ids, symbol=SYMBOL: it.intake._put(  # type: ignore[method-assign]
            it.intake._sealer.seal([trade(n, symbol) for n in ids], [TIME_NS] * len(ids)),
            "t#1",
        )
        it.receive(1, 100, symbol="OLD")
        await asyncio.sleep(120)
        it.receive(1, 900, symbol="LARGE")
        it.receive(1, 5, symbol="SMALL")
        await asyncio.sleep(2)
        assert it.exchange.asked == [], "there is no room"
        it.intake.is_dropping = False
        await it.settled()
    assert [asked["symbol"] for _, asked in it.exchange.asked] == ["SMALL", "LARGE", "OLD"]


async def test_a_large_hole_lets_others_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.healer.WORKERS", 1)
    monkeypatch.setattr("collector.healer.PAGES_A_LOOK", 1)
    async with healing() as it:
        it.exchange.seconds = 1.0
        it.receive(1, 2_901)
        await asyncio.sleep(1.5)
        small = [trade(1, "SMALL"), trade(3, "SMALL")]
        it.intake.take("t#1", small, [TIME_NS] * 2, overlaps=False)
        assert await it.settled() == [(2, 2, "healed"), (2, 2_900, "healed")]
    assert [asked["symbol"] for _, asked in it.exchange.asked] == [
        *(SYMBOL, SYMBOL, "SMALL", SYMBOL),
    ]


async def test_one_page_heals_all_holes_of_a_symbol_that_it_covers() -> None:
    async with healing() as it:
        it.receive(1, 3, 5, 7, 900)
        assert len(await it.settled()) == 4
    assert len(it.exchange.asked) == 1


@pytest.mark.parametrize(
    ("received", "asked_from"),
    [((1, 21, 499, 501), ["2"]), ((1, 900, 1_500, 1_502), ["901", "2"])],
    ids=["all on one page", "all but one"],
)
async def test_a_page_begins_with_the_first_hole_that_it_can_hold(
    received: tuple[int, ...], asked_from: list[str]
) -> None:
    """The smallest hole is the last one, and looked at first."""
    async with healing() as it:
        it.receive(*received)
        assert {outcome for _, _, outcome in await it.settled()} == {"healed"}
    assert [asked["fromId"] for _, asked in it.exchange.asked] == asked_from


async def test_a_hole_before_that_was_never_traded_costs_this_one_nothing() -> None:
    async with healing() as it:
        del it.exchange.trades[1:3]  # 2 and 3
        it.exchange.aggregates = [aggregate_row(50, 1, 1), aggregate_row(51, 4, 4)]
        it.receive(1, 4, 6)
        assert sorted(await it.settled()) == [(2, 3, "absent_at_source"), (5, 5, "healed")]
    paths = [(path[8:], asked.get("fromId")) for path, asked in it.exchange.asked]
    assert paths[0] == ("historicalTrades", "2")
    assert len(paths) == 4  # then 2 again, the trade before it, and the aggregates


async def test_a_hole_that_is_filled_while_rest_is_asked() -> None:
    async with healing() as it:
        it.exchange.seconds = 5.0
        it.receive(1, 4)
        await asyncio.sleep(3)
        it.receive(2, 3)
        await asyncio.sleep(10)
    assert it.outcomes() == [(2, 3, "healed")]
    assert it.continuity.repeats.total() == 0
    assert len(it.spool.frames) == 3


async def test_a_hole_that_is_filled_while_rest_refuses() -> None:
    async with healing() as it:
        it.exchange.seconds = 5.0
        it.exchange.script = [ExchangeError("HTTP 403: WAF", 403)]
        it.receive(1, 4)
        await asyncio.sleep(3)
        it.receive(2, 3)
        await asyncio.sleep(10)
    assert it.outcomes() == [(2, 3, "healed")]


class TestAggregates:
    async def test_they_are_healed_for_4_of_weight(self) -> None:
        async with healing() as it:
            it.exchange.aggregates = [aggregate_row(number, number, number) for number in range(9)]
            it.receive(1, 5, make=aggregate)
            assert await it.settled() == [(2, 4, "healed")]
        assert it.exchange.weight == 4
        assert it.records()[0]["channel"] == "aggTrade"
        stream, rest = (decode_frame(frame.data) for frame in it.spool.frames[:2])
        origin = Origin("spot", "rest", "c1", "f", datetime.now(UTC))
        for frame, count in ((stream, 2), (rest, 3)):
            assert decode_batch(frame.body, "aggTrade", origin).rows.num_rows == count

    async def test_trades_that_join_leave_no_room_for_another(self) -> None:
        async with healing() as it:
            it.exchange.aggregates = [aggregate_row(1, 7, 8), aggregate_row(3, 9, 9)]
            it.receive(1, 3, make=aggregate)
            assert await it.settled() == [(2, 2, "absent_at_source")]

    async def test_trades_that_do_not_join_prove_nothing(self) -> None:
        async with healing() as it:
            it.exchange.aggregates = [aggregate_row(1, 7, 8), aggregate_row(3, 10, 10)]
            it.receive(1, 3, make=aggregate)
            assert await it.settled() == [(2, 2, "failed")]

    async def test_what_binance_has_marked_as_invalid_is_absent(self) -> None:
        async with healing() as it:
            marked = aggregate_row(2, -1, -1) | {"p": "0", "q": "0"}
            it.exchange.aggregates = [aggregate_row(1, 7, 8), marked, aggregate_row(3, 9, 9)]
            it.receive(1, 3, make=aggregate)
            assert await it.settled() == [(2, 2, "absent_at_source")]
        assert it.records()[0]["witnesses"] == "aggTrades marks aggregate 2 as invalid"
