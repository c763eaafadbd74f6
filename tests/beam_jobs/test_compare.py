import json
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.compare import (
    KEYS,
    FrameCount,
    Missing,
    Span,
    count_frame,
    differences,
    find_missing,
    layout_of,
    without,
)
from beam_jobs.frames import DecodedFrame, decode_received
from market_data.layouts import LAYOUTS
from market_data.totals import SymbolTotals
from tests.beam_jobs.samples import NOW, OPENED_AT, exchange_info_line, line, received, trade


def decoded(*lines: bytes, channel: str = "trade") -> DecodedFrame:
    return decode_received(received(*lines, channel=channel), NOW)


def kline(interval: str, event_ms: int = 1_770_000_000_000) -> bytes:
    fields = {
        "t": 1_769_999_940_000, "T": 1_769_999_999_999, "s": "BTCUSDT", "i": interval, "f": 1,
        "L": 2, "o": "1", "c": "1", "h": "1", "l": "1", "v": "1", "n": 2, "x": True, "q": "1",
        "V": "1", "Q": "1", "B": "0",
    }  # fmt: skip
    payload = {"e": "kline", "E": event_ms, "s": "BTCUSDT", "k": fields}
    return line(f"btcusdt@kline_{interval}", payload)


def table_of(*frames: FrameCount) -> dict[tuple[str, str], SymbolTotals]:
    """Return what a table that has all of the frames would answer."""
    return {(frame.frame_id, totals.symbol): totals for frame in frames for totals in frame.totals}


class TestCountFrame:
    def test_a_repeated_row_counts_once(self) -> None:
        found = count_frame(decoded(trade(1), trade(2), trade(2), trade(7, "ETHUSDT")))
        btc, eth = found.totals
        assert (btc.symbol, btc.count, btc.sum_ids, btc.first_id, btc.last_id) == (
            *("BTCUSDT", 2, Decimal(3), 1, 2),
        )
        assert (btc.sum_quantity, btc.sum_quote_quantity) == (Decimal("0.4"), Decimal(1))
        assert (eth.symbol, eth.count) == ("ETHUSDT", 1)
        at = OPENED_AT
        assert found.span == Span(at, at, at, at)

    def test_records_of_holes_are_told_apart_by_channel_and_first_id(self) -> None:
        record = {
            "run_id": "c1/7", "channel": "trade", "symbol": "A", "first_missing_id": 2,
            "last_missing_id": 4, "missing": 3, "found_at": OPENED_AT, "outcome": "failed",
            "cause": "unknown", "witnesses": "", "frames": "", "detail": "",
        }  # fmt: skip
        lines = [
            json.dumps({"received_at": OPENED_AT, "data": record | change}).encode()
            for change in ({}, {}, {"channel": "aggTrade"}, {"first_missing_id": 4, "missing": 1})
        ]
        (totals,) = count_frame(decoded(*lines, channel="hole")).totals
        assert (totals.symbol, totals.count, totals.sum_ids) == ("A", 3, Decimal(8))

    def test_the_copies_of_an_id_that_differ_count_both(self) -> None:
        (totals,) = count_frame(decoded(trade(1), trade(1, q="0.3"))).totals
        assert totals.count == 2

    def test_klines_of_one_moment_are_told_apart(self) -> None:
        (totals,) = count_frame(
            decoded(kline("1m"), kline("5m"), kline("5m"), channel="kline")
        ).totals
        assert (totals.count, totals.sum_ids) == (2, 2 * 1_770_000_000_000_000)

    def test_symbols_of_the_exchange_have_an_id_here(self) -> None:
        entry = {
            "symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
            "isSpotTradingAllowed": True, "permissionSets": [["SPOT"]], "filters": [],
        }  # fmt: skip
        found = count_frame(decoded(exchange_info_line(entry), channel="exchangeInfo"))
        assert [(each.symbol, each.count, each.sum_ids) for each in found.totals] == [
            ("BTCUSDT", 1, Decimal(OPENED_AT))
        ]

    def test_only_some_symbols(self) -> None:
        lines = trade(1), trade(2, "ETHUSDT")
        found = count_frame(decoded(*lines), frozenset({"ETHUSDT", "XRPUSDT"}))
        assert [totals.symbol for totals in found.totals] == ["ETHUSDT"]

    def test_nothing_to_count(self) -> None:
        for frame in (decoded(), decoded(b"{}", channel="depth"), decoded(b"garbage")):
            assert count_frame(frame) == FrameCount("c1/7/1", (), None)

    def test_every_loaded_channel_has_keys(self) -> None:
        assert KEYS.keys() == LAYOUTS.keys()
        for channel in KEYS:
            assert layout_of(channel).id_column in layout_of(channel).table.arrow_schema.names


@pytest.fixture
def frame() -> FrameCount:
    return count_frame(decoded(trade(1), trade(2), trade(7, "ETHUSDT")))


def missing(
    frame: FrameCount,
    found: dict[tuple[str, str], SymbolTotals],
    entered: Iterable[str] = ("c1/7/1",),
) -> list[tuple[list[str], bool]]:
    return [
        (list(each.rows), each.is_entered)
        for each in find_missing([frame], found, frozenset(entered))
    ]


class TestFindMissing:
    def test_a_frame_that_is_whole_is_left_alone(self, frame: FrameCount) -> None:
        assert missing(frame, table_of(frame)) == []

    def test_rows_that_were_deleted(self, frame: FrameCount) -> None:
        found = table_of(frame)
        del found["c1/7/1", "BTCUSDT"]
        assert missing(frame, found) == [(["BTCUSDT"], True)]
        found = table_of(frame)
        found["c1/7/1", "ETHUSDT"] = replace(found["c1/7/1", "ETHUSDT"], count=0)
        assert missing(frame, found) == [(["ETHUSDT"], True)]

    def test_a_frame_that_was_never_entered(self, frame: FrameCount) -> None:
        assert missing(frame, {}, ()) == [(["BTCUSDT", "ETHUSDT"], False)]
        assert missing(frame, table_of(frame), ()) == [([], False)]

    def test_rows_that_contradict_are_not_appended_again(self, frame: FrameCount) -> None:
        found = table_of(frame)
        key = ("c1/7/1", "BTCUSDT")
        found[key] = replace(found[key], sum_quantity=Decimal(9))
        assert missing(frame, found) == []
        (text,) = differences([frame], found)
        assert text.startswith(
            "BTCUSDT of frame c1/7/1: the archive has 2 rows from 1 to 2 (ids 3,"
        )
        assert "quantity 9" in text


def test_differences_name_what_is_not_there(frame: FrameCount) -> None:
    assert differences([frame], table_of(frame)) == []
    assert [text.split(":")[0] for text in differences([frame], {})] == [
        "BTCUSDT of frame c1/7/1",
        "ETHUSDT of frame c1/7/1",
    ]
    assert differences([frame], {})[0].endswith("the table nothing")


class TestWithout:
    def ids(self, lines: Iterable[bytes], **there: list[int]) -> list[tuple[str, int]]:
        rows = decoded(*lines).rows
        assert rows is not None
        part = Missing(
            "c1/7/1", {name: np.array(ids, np.int64) for name, ids in there.items()}, True
        )
        kept = without(rows, "trade", part)
        assert kept.schema == rows.schema
        return [(row["symbol"], row["trade_id"]) for row in kept.to_pylist()]

    def test_rows_of_whole_symbols_and_of_parts(self) -> None:
        lines = [trade(1), trade(2), trade(2, "ETHUSDT"), trade(3), trade(9, "XRPUSDT")]
        assert self.ids(lines, BTCUSDT=[2], ETHUSDT=[]) == [
            *(("BTCUSDT", 1), ("ETHUSDT", 2), ("BTCUSDT", 3)),
        ]
        assert self.ids(lines) == []

    @given(st.sets(st.integers(1, 30), min_size=1), st.data())
    def test_what_is_there_and_what_is_appended_is_the_frame(
        self, numbers: set[int], data: st.DataObject
    ) -> None:
        there = data.draw(st.sets(st.sampled_from(sorted(numbers))))
        appended = self.ids([trade(number) for number in sorted(numbers)], BTCUSDT=sorted(there))
        assert sorted([*there, *(number for _, number in appended)]) == sorted(numbers)


def test_spans_grow() -> None:
    assert Span(1, 5, 2, 3) | Span(2, 9, 1, 3) == Span(1, 9, 1, 3)
