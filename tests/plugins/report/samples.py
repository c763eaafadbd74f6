"""Facts to report on: a quiet complete day, and a day on which much went wrong."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from plugins.market_ops.report import queries
from plugins.market_ops.report.document import make_document
from plugins.market_ops.report.facts import (
    Check,
    Compared,
    Completeness,
    Difference,
    Facts,
    Healed,
    Hole,
    Latency,
    Rejected,
    Repair,
    Silent,
    Volume,
)
from plugins.market_ops.report.verdict import judge

DAY = date(2026, 2, 2)
START = datetime(2026, 2, 2, tzinfo=UTC)
NOW = datetime(2026, 2, 3, 0, 30, tzinfo=UTC)
LINKS = {
    "page": "https://bucket/report.html",
    "json": "https://bucket/report.json",
    "airflow": "https://airflow/dags/report_quality",
}
HOSTILE = "<script>alert('x')</script>\"&"


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return START + timedelta(hours=hour, minutes=minute, seconds=second)


def completeness(symbol: str = "BTCUSDT", **changes: Any) -> Completeness:
    row = Completeness(
        market="spot", symbol=symbol, first_id=1001, last_id=1100, expected=100, present=100,
        missing=0, missing_before=0, unpublished=0, duplicates_removed=0, conflicts=0, healed=0,
        verdict="FINAL", status="TRADING", is_end_proven=False,
    )  # fmt: skip
    return replace(row, **changes)


def hole(symbol: str = "BTCUSDT", **changes: Any) -> Hole:
    row = Hole(
        market="spot", symbol=symbol, first_missing_id=1050, last_missing_id=1052, missing=3,
        previous_traded_at=at(14, 3, 5), next_traded_at=at(14, 9, 1), is_unpublished=False,
    )  # fmt: skip
    return replace(row, **changes)


def repair(symbol: str = "BTCUSDT", **changes: Any) -> Repair:
    row = Repair(
        market="spot", symbol=symbol, first_missing_id=1050, last_missing_id=1052,
        outcome="failed", cause="unknown", source="", run_id="scheduled__2026-02-02T15:00",
        witnesses="", detail="rest: https://api/historicalTrades: HTTP 404", found_at=at(15),
        closed_at=None,
    )  # fmt: skip
    return replace(row, **changes)


def healed(symbol: str = "BTCUSDT", **changes: Any) -> Healed:
    row = Healed(
        market="spot", symbol=symbol, source="rest", collector="collector-a", trades=12, runs=2,
        first_id=1010, last_id=1030, first_traded_at=at(3), last_traded_at=at(3, 20),
        first_received_at=at(3, 21), last_received_at=at(3, 21, 4),
    )  # fmt: skip
    return replace(row, **changes)


def compared(interval: str, name: str, candles: int, *, is_covered: bool = True) -> Compared:
    return Compared(
        kline_interval=interval, difference_class=name, is_covered=is_covered, candles=candles
    )


def latency(minute: int, p50: int, p99: int, stage: str = "exchange_to_loaded") -> Latency:
    return Latency(
        market="spot", stage=stage, opened_at=START + timedelta(minutes=minute), p50_us=p50,
        p99_us=p99, max_us=p99 * 2, trades=100, negative=0,
    )  # fmt: skip


def rejected(**changes: Any) -> Rejected:
    row = Rejected(
        stage="line", reason="bad_number", items=4, first_at=at(9, 1), last_at=at(17, 45),
        market="spot", channel="trade", symbol="BTCUSDT", field="p", value="12,5",
        detail="p: expected a decimal number, was '12,5'",
    )  # fmt: skip
    return replace(row, **changes)


def check(**changes: Any) -> Check:
    row = Check(
        suite="raw_trades", expectation="prices_are_positive", table_name="raw.trades",
        column_name="price", severity="fail", failures=2, observed="3 of 100 rows: BTCUSDT 1017",
        threshold="price > 0", meaning="A price is above 0.",
        remedy="Look at the archived frame of the row.", link="https://bucket/docs/raw_trades.html",
        checked_at=at(20), is_over=False,
    )  # fmt: skip
    return replace(row, **changes)


def difference(**changes: Any) -> Difference:
    zero = Decimal(0)
    row = Difference(
        market="spot", symbol="BTCUSDT", kline_interval="5m", opened_at=at(7, 5),
        open_difference=zero, high_difference=zero, low_difference=zero, close_difference=zero,
        volume_difference=Decimal("-0.00000001"), quote_volume_difference=zero,
        trades_difference=0, taker_buy_volume_difference=zero,
        taker_buy_quote_volume_difference=zero,
    )  # fmt: skip
    return replace(row, **changes)


def volume(symbol: str, back: int, trades: int, quote: str, asset: str | None = "USDT") -> Volume:
    return Volume(
        market="spot", symbol=symbol, traded_on=DAY - timedelta(days=back), trades=trades,
        quote_volume=Decimal(quote), quote_asset=asset, built_at=NOW - timedelta(minutes=4),
    )  # fmt: skip


def good_day() -> Facts:
    """Return two symbols, one of them not ASCII, with nothing wrong."""
    return Facts(
        day=DAY,
        completeness=(
            completeness(),
            completeness("币安人生USDT", verdict="PROVISIONAL", is_end_proven=True),
        ),
        reconciliation=(compared("1m", "equal", 1440), compared("1d", "equal", 1)),
        latency=(latency(0, 40_000, 90_000), latency(16, 50_000, 120_000)),
        checks=(),
        volumes=(volume("BTCUSDT", 0, 100, "2500.5"), volume("BTCUSDT", 1, 80, "2000.25")),
    )


def bad_day() -> Facts:
    """Return a day with a hole, a healed one, mistakes of ours, rejections and failed checks."""
    return Facts(
        day=DAY,
        completeness=(
            completeness("ETHUSDT"),
            completeness(present=97, missing=3, verdict="INCOMPLETE", healed=12),
            completeness("币安人生USDT", verdict="PROVISIONAL"),
            completeness("OLDUSDT", verdict="PROVISIONAL", status="DELISTED"),
        ),
        silent=(
            Silent(
                market="spot",
                symbol="QUIETUSDT",
                last_traded_on=DAY - timedelta(days=2),
                next_traded_on=None,
                status="TRADING",
                is_silence_proven=False,
            ),
        ),
        holes=(hole(), hole("ETHUSDT", is_unpublished=True, missing=1, last_missing_id=1050)),
        repairs=(
            repair(last_missing_id=1051),
            repair(
                first_missing_id=1010,
                last_missing_id=1021,
                outcome="handed_over",
                cause="disconnect",
                run_id="collector-a/7",
                found_at=at(3, 20),
            ),
            repair(
                first_missing_id=1010,
                last_missing_id=1021,
                outcome="healed",
                source="rest",
                detail="",
                found_at=at(3, 30),
                closed_at=at(3, 32),
            ),
            repair(
                "ETHUSDT",
                first_missing_id=1070,
                last_missing_id=1070,
                detail="",
                outcome="absent_at_source",
                closed_at=at(15, 1),
                witnesses="rest has 1069 and 1071; aggregate 7 ends with trade 1069",
            ),
        ),
        healed=(healed(),),
        reconciliation=(
            *(compared("1m", "equal", 4312), compared("1m", "ours", 1)),
            compared("1m", "missing trades", 7, is_covered=False),
            *(compared("5m", "equal", 862), compared("5m", "boundary", 2)),
        ),
        differences=(difference(),),
        latency=tuple(
            latency(minute, 20_000 + 40 * minute, 90_000 + (minute % 97) ** 3, stage)
            for minute in range(0, 1440, 5)
            if not 840 <= minute < 870
            for stage in ("exchange_to_received", "exchange_to_loaded")
        ),
        rejections=(rejected(), rejected(reason="not_json", items=1, field=None, value=None)),
        checks=(check(), check(expectation="few_duplicates", severity="warn", is_over=True)),
        volumes=tuple(
            volume(symbol, back, 1000 + 37 * back, f"{12_345 + back}.00000001", asset)
            for symbol, asset in (("BTCUSDT", "USDT"), ("ETHUSDT", "USDT"), ("ETHBTC", "BTC"))
            for back in range(8)
        ),
    )


def document(facts: Facts, now: datetime = NOW) -> dict[str, Any]:
    asked = {query.name: query for query in (make(facts.day) for make in queries.ALL)}
    return make_document(facts, judge(facts, now), asked, "crypto-local", now)
