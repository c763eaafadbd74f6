"""The trust marts over a real BigQuery emulator: completeness, reconciliation, latency, summary.

The futures files of Binance's archive are the hard case: trades booked in the neighbouring minute
and fills that no stream ever sent. Each difference must find its reason. The hour that holds them
arrives late, so that all marts are what incremental runs make of them.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from market_data.numbers import quote_quantity
from market_data.tables import AGG_TRADES, FRAMES, KLINES, TRADES
from tests.integration.test_dbt_models import (
    FIELDS,
    MINUTE,
    START,
    Row,
    Warehouse,
    frame,
    kline,
    made_up_trade,
    microseconds,
    start_warehouse,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

INTERVALS = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}
# Small enough for every trade, large enough for an exact product with a price of four decimals.
CRUMB = Decimal("0.0001")
LATE_HOUR = 4
BUILT_IN_PARTS = (
    *("intermediate.int_trade_days", "intermediate.int_id_holes", "marts.market_completeness"),
    *("marts.market_daily_summary", "marts.pipeline_latency"),
)
FUTURES = {"RLCUSDT": "2026-04-13", "BSVUSDT": "2026-04-08"}


def archived(folder: Path, name: str) -> Iterator[list[str]]:
    """Yield the rows of an archive file of Binance, without the header that newer ones have."""
    with zipfile.ZipFile(folder / "archive" / f"{name}.zip") as archive:
        (member,) = archive.namelist()
        lines = io.TextIOWrapper(archive.open(member), encoding="utf-8")
        yield from (row for row in csv.reader(lines) if row[0].isdigit())


def archived_klines(folder: Path, symbol: str, day: str, market: str) -> list[Row]:
    """Return the official minutes of a day, and the coarser candles that follow from them."""
    minutes = []
    for row in archived(folder, f"{symbol}-1m-{day}"):
        values = [Decimal(value) for value in (*row[1:6], row[7])]
        fields = (*values, int(row[8]), Decimal(row[9]), Decimal(row[10]))
        opened_at = microseconds(int(row[0]) * 1000)
        minutes.append(kline(symbol, "1m", opened_at, *fields, market=market, source="archive"))
    return minutes + [
        coarser_kline(interval, minutes[i : i + length])
        for interval, length in INTERVALS.items()
        if length > 1
        for i in range(0, len(minutes), length)
    ]


def coarser_kline(interval: str, minutes: list[Row]) -> Row:
    """Return the kline that official minutes add up to; empty minutes have no prices."""
    traded = [row for row in minutes if row["trades"]] or minutes
    fields = (
        traded[0]["open"],
        max(row["high"] for row in traded),
        min(row["low"] for row in traded),
        traded[-1]["close"],
        *(sum(row[name] for row in minutes) for name in FIELDS[4:]),
    )
    first = minutes[0]
    return kline(
        first["symbol"],
        interval,
        first["opened_at"],
        *fields,
        market=first["market"],
        source="archive",
    )


def archived_futures(folder: Path, symbol: str, day: str) -> tuple[list[Row], list[Row]]:
    """Return a day's trades and aggregates of the market `um`.

    An aggregate stands for the trades from its first to its last id, at one price and time; how
    its quantity is split is not published, so the first of them carries nearly all of it.
    """
    trades, aggregates = [], []
    for row in archived(folder, f"{symbol}-aggTrades-{day}"):
        at = microseconds(int(row[5]) * 1000)
        price, quantity = Decimal(row[1]), Decimal(row[2])
        first_id, last_id = int(row[3]), int(row[4])
        common = {
            "market": "um",
            "symbol": symbol,
            "price": price,
            "is_buyer_maker": row[6] == "true",
            "traded_at": at,
            "event_at": at,
            "received_at": at,
            "source": "archive",
            "collector": "archive",
            "frame_id": f"archive-{symbol}-{at:%H}",
            "loaded_at": at + timedelta(seconds=1),
        }
        aggregates.append(
            common
            | {
                "agg_trade_id": int(row[0]),
                "quantity": quantity,
                "first_trade_id": first_id,
                "last_trade_id": last_id,
            }
        )
        for trade_id in range(first_id, last_id + 1):
            others = (last_id - first_id) * CRUMB
            part = quantity - others if trade_id == first_id else CRUMB
            trades.append(
                common
                | {
                    "trade_id": trade_id,
                    "quantity": part,
                    "quote_quantity": quote_quantity(price, part),
                }
            )
    return trades, aggregates


def streamed_trades() -> list[Row]:
    """Return spot trades of two minutes: trade n is received n ms late, the first one early."""
    return [
        made_up_trade(
            "BTCUSDT",
            n,
            n,
            "100",
            frame_id=f"stream-{n % 2}",
            received_at=START + timedelta(seconds=n, milliseconds=n - 2),
        )
        for n in range(1, 101)
    ]


@pytest.fixture(scope="module")
def futures(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, recorded: Path
) -> Warehouse:
    """Two days of futures, a stream of spot trades, and klines of 2020 without trades."""
    warehouse = start_warehouse(request, tmp_path_factory.mktemp("futures"), "dbt-futures-test")
    trades, aggregates, klines = streamed_trades(), [], []
    streamed = {n: [t for t in trades if t["frame_id"] == f"stream-{n}"] for n in (0, 1)}
    for symbol, day in FUTURES.items():
        found = archived_futures(recorded, symbol, day)
        trades += found[0]
        aggregates += found[1]
        klines += archived_klines(recorded, symbol, day, "um")
    for day in ("2020-01-01", "2020-01-03"):
        klines += archived_klines(recorded, "BTCUSDT", day, "spot")
    late = [
        row
        for row in trades
        if row["frame_id"] == "stream-1" or row["frame_id"].endswith(f"-{LATE_HOUR:02}")
    ]
    late_frames = {row["frame_id"] for row in late}
    warehouse.load(AGG_TRADES, aggregates)
    warehouse.load(KLINES, klines)
    warehouse.load(FRAMES, [frame(f"stream-{n}", rows) for n, rows in streamed.items()])
    warehouse.load(TRADES, [row for row in trades if row["frame_id"] not in late_frames])
    warehouse.dbt("run")
    warehouse.load(TRADES, late)
    warehouse.dbt("build", "--exclude-resource-type", "unit_test")
    return warehouse


def differences(warehouse: Warehouse, interval: str) -> dict[tuple[str, int], str]:
    """Return the class of each candle that differs, by symbol and its number in the day."""
    rows = warehouse.rows(
        "select symbol, opened_at, difference_class "  # noqa: S608
        f"from `{warehouse.project}.marts.kline_reconciliation` "
        f"where kline_interval = '{interval}' and not is_equal"
    )
    length = INTERVALS[interval] * MINUTE
    return {
        (row["symbol"], (row["opened_at"] - midnight(row["opened_at"])) // length): row[
            "difference_class"
        ]
        for row in rows
    }


def midnight(time: datetime) -> datetime:
    """Return the start of the UTC day of `time`."""
    return datetime.combine(time.date(), datetime.min.time(), UTC)


def test_futures_minutes_differ_for_known_reasons(futures: Warehouse) -> None:
    """A fill that no stream sent, and one trade booked a minute late; the RLC day is equal."""
    assert differences(futures, "1m") == {
        ("BSVUSDT", 245): "excluded from stream",
        ("BSVUSDT", 252): "boundary",
        ("BSVUSDT", 253): "boundary",
    }


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ("5m", {("BSVUSDT", 49): "excluded from stream"}),
        ("15m", {("BSVUSDT", 16): "excluded from stream"}),
        ("1h", {("BSVUSDT", 4): "excluded from stream"}),
        ("4h", {("BSVUSDT", 1): "excluded from stream"}),
        # the day begins with the first trade that we know
        ("1d", {("BSVUSDT", 0): "missing trades"}),
    ],
)
def test_coarser_futures_candles_inherit_the_reason(
    futures: Warehouse, interval: str, expected: dict[tuple[str, int], str]
) -> None:
    assert differences(futures, interval) == expected


def test_symbols_without_trades_are_not_reconciled(futures: Warehouse) -> None:
    (row,) = futures.rows(
        "select count(*) as candles, countif(extract(year from opened_at) = 2020) as old "  # noqa: S608
        f"from `{futures.project}.marts.kline_reconciliation`"
    )
    per_day = sum(1440 // length for length in INTERVALS.values())
    assert row == {"candles": len(FUTURES) * per_day, "old": 0}


def test_unpublished_ids_are_no_loss(futures: Warehouse) -> None:
    rows = futures.rows(
        "select symbol, missing, holes, unpublished, healed = present as is_healed, verdict "  # noqa: S608
        f"from `{futures.project}.marts.market_completeness` where market = 'um' order by symbol"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("BSVUSDT", 8, 8, 8, True, "PROVISIONAL"),
        ("RLCUSDT", 2, 2, 2, True, "PROVISIONAL"),
    ]


def test_daily_summary_equals_the_official_day(futures: Warehouse, recorded: Path) -> None:
    klines = archived_klines(recorded, "RLCUSDT", FUTURES["RLCUSDT"], "um")
    (official,) = (row for row in klines if row["kline_interval"] == "1d")
    fives = [row for row in klines if row["kline_interval"] == "5m"]
    busiest = max((row for row in klines if row["kline_interval"] == "1m"), key=trades_of)
    closes = [fives[0]["open"], *(row["close"] for row in fives)]
    returns = [math.log(b / a) for a, b in itertools.pairwise(closes)]
    (row,) = futures.rows(
        f"select * from `{futures.project}.marts.market_daily_summary` where symbol = 'RLCUSDT'"  # noqa: S608
    )
    shown = [name for name in FIELDS if not name.startswith("taker")]
    assert {name: row[name] for name in shown} == {name: official[name] for name in shown}
    assert math.isclose(row["realised_volatility"], math.hypot(*returns), rel_tol=1e-9)
    assert math.isclose(row["day_return"], official["close"] / official["open"] - 1, rel_tol=1e-9)
    share = official["taker_buy_volume"] / official["volume"]
    assert math.isclose(row["taker_buy_share"], share, rel_tol=1e-9)
    assert abs(row["vwap"] - official["quote_volume"] / official["volume"]) < Decimal("1e-8")
    assert (row["busiest_minute"], row["busiest_minute_trades"]) == (
        busiest["opened_at"],
        busiest["trades"],
    )


def trades_of(row: Row) -> int:
    """Return the number of trades of a candle."""
    return int(row["trades"])


def test_latency_is_exact(futures: Warehouse) -> None:
    """Minute 0 holds trades 1 to 59, minute 1 the rest; trade n is received n - 2 ms late."""
    rows = futures.rows(
        "select opened_at, p50_us, p99_us, max_us, trades, negative "  # noqa: S608
        f"from `{futures.project}.marts.pipeline_latency` "
        "where stage = 'exchange_to_received' order by opened_at"
    )
    assert [tuple(row.values()) for row in rows] == [
        (START, 28_000, 57_000, 57_000, 59, 1),
        (START + MINUTE, 78_000, 98_000, 98_000, 41, 0),
    ]
    (loaded,) = futures.rows(
        "select min(p50_us) as fastest, max(max_us) as slowest, sum(trades) as trades "  # noqa: S608
        f"from `{futures.project}.marts.pipeline_latency` where stage = 'published_to_loaded'"
    )
    assert loaded == {"fastest": 1_000_000, "slowest": 1_000_000, "trades": 100}


def test_a_full_refresh_says_the_same(futures: Warehouse) -> None:
    """Last, because it builds the warehouse of the others anew."""

    def contents() -> dict[str, list[list[tuple[str, object]]]]:
        return {
            model: sorted(
                [item for item in row.items() if item[0] != "built_at"]
                for row in futures.rows(f"select * from `{futures.project}.{model}`")  # noqa: S608
            )
            for model in BUILT_IN_PARTS
        }

    in_parts = contents()
    assert all(in_parts.values())
    futures.dbt("run", "--full-refresh")
    assert contents() == in_parts
