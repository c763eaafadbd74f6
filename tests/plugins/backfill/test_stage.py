"""A day is staged as rows of the raw tables when trades and klines tell the same."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.numbers import quote_quantity
from market_data.tables import AGG_TRADES, KLINES, TRADES
from plugins.market_ops.backfill.minutes import Differs, Minutes
from plugins.market_ops.backfill.stage import KINDS, Staged, Stager
from plugins.market_ops.backfill.tables import Day, columns, counted, with_quote_quantity
from tests.plugins.backfill.samples import (
    DAY,
    MINUTE,
    Trade,
    agg_trade_rows,
    files,
    kline_rows,
    trade_rows,
    vision,
)

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TRADED: list[Trade] = [
    (7, "60000.10", "0.30000000", 5, True),
    (8, "60000.20", "0.1", 59_999_999, False),
    (9, "59999", "0.00000003", 3 * MINUTE, False),
]


def staged(
    folder: Path,
    *kinds: str,
    klines: list[Trade] = TRADED,
    allowed: int = 0,
    **texts: str,
) -> list[Staged]:
    made = {
        "BTCUSDT-1m": kline_rows(klines),
        "BTCUSDT-trades": trade_rows(TRADED),
        "BTCUSDT-aggTrades": agg_trade_rows(TRADED),
    }
    bodies = files({f"{name}-{DAY}": text for name, text in (made | texts).items()})
    stager = Stager(vision(bodies), "BTCUSDT", DAY, folder, NOW, allowed)
    return list(stager.stage(kinds or KINDS))


def test_columns_are_the_raw_tables() -> None:
    for kind, table in (("trades", TRADES), ("aggTrades", AGG_TRADES), ("klines", KLINES)):
        assert columns(kind) == [column.name for column in table.columns]


def test_all_kinds_become_rows(tmp_path: Path) -> None:
    found = {each.unit.kind: each for each in staged(tmp_path)}
    for kind, table in (("trades", TRADES), ("aggTrades", AGG_TRADES), ("klines", KLINES)):
        assert pq.read_schema(found[kind].path).equals(table.arrow_schema)
    trades = pq.read_table(found["trades"].path).to_pylist()
    assert [row["trade_id"] for row in trades] == [7, 8, 9]
    assert trades[0] == {
        "market": "spot",
        "symbol": "BTCUSDT",
        "trade_id": 7,
        "price": Decimal("60000.1"),
        "quantity": Decimal("0.3"),
        "quote_quantity": Decimal("18000.03"),
        "is_buyer_maker": True,
        "traded_at": datetime(2026, 3, 1, 0, 0, 0, 5, tzinfo=UTC),
        "event_at": datetime(2026, 3, 1, 0, 0, 0, 5, tzinfo=UTC),
        "received_at": NOW,
        "source": "archive",
        "collector": "archive.BTCUSDT.trades",
        "frame_id": "archive.BTCUSDT.trades/1772323200000000/1",
        "loaded_at": NOW,
    }
    totals = found["trades"].totals
    assert (totals.rows, totals.sum_ids, totals.first_id, totals.last_id) == (3, 24, 7, 9)
    assert totals.sum_quantity == Decimal("0.40000003")
    klines = pq.read_table(found["klines"].path).to_pylist()
    assert len(klines) == 1440
    ids = [(row["first_trade_id"], row["last_trade_id"]) for row in klines[:4]]
    assert ids == [(7, 8), (-1, -1), (-1, -1), (9, 9)]
    assert klines[0]["event_at"] == klines[0]["closed_at"]


def test_only_what_was_asked_for_is_staged(tmp_path: Path) -> None:
    assert [each.unit.kind for each in staged(tmp_path, "klines")] == ["klines"]
    assert [each.unit.kind for each in staged(tmp_path, "aggTrades")] == ["aggTrades"]


DIFFERENT = {
    "a trade more": (
        [*TRADED, (10, "1", "1", 7 * MINUTE, True)],
        "00:07 has 0 trades",
    ),
    "a trade less": (TRADED[:2], "00:03 has 1 trades, its kline 0"),
    "volume": ([*TRADED[:2], (9, "59999", "0.00000004", 3 * MINUTE, False)], "00:03 has volume"),
    "price": ([*TRADED[:2], (9, "69999", "0.00000003", 3 * MINUTE, False)], "00:03 has quote vol"),
}


@pytest.mark.parametrize(("klines", "message"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_from_the_klines_is_refused(
    tmp_path: Path, klines: list[Trade], message: str
) -> None:
    with pytest.raises(Differs, match=rf"trades-2026-03-01: 1 minutes differ.*{message}"):
        staged(tmp_path, "trades", klines=klines)
    (allowed,) = staged(tmp_path, "trades", klines=klines, allowed=1)
    assert allowed.differing_minutes == 1


def test_a_kline_that_is_missing_is_a_difference(tmp_path: Path) -> None:
    with pytest.raises(Differs, match="00:03 has 1 trades and no kline"):
        staged(tmp_path, "trades", **{"BTCUSDT-1m": kline_rows(TRADED, minutes=3)})


prices = st.decimals("0.00000001", "1e13", places=8)


@given(st.lists(st.tuples(prices, prices), min_size=1, max_size=10))
def test_quote_quantity_is_that_of_the_stream(some: list[tuple[Decimal, Decimal]]) -> None:
    import pyarrow as pa

    numeric = pa.decimal128(38, 9)
    some = [(price, quantity) for price, quantity in some if price * quantity < 10**25]
    table = pa.table(
        {
            "price": pa.array([price for price, _ in some], numeric),
            "quantity": pa.array([quantity for _, quantity in some], numeric),
        }
    )
    found = with_quote_quantity(table)["quote_quantity"].to_pylist()
    assert found == [quote_quantity(price, quantity) for price, quantity in some]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 999)), max_size=30), st.integers(1, 7))
def test_minutes_do_not_depend_on_blocks(rows: list[tuple[int, int]], size: int) -> None:
    import pyarrow as pa

    numeric, start = pa.decimal128(38, 9), Day("A", "trades", DAY).start
    rows = sorted(rows)
    minutes, expected = Minutes(), defaultdict(list)
    for begin in range(0, len(rows), size):
        part = list(enumerate(rows))[begin : begin + size]
        table = pa.table(
            {
                "trade_id": pa.array([number for number, _ in part], pa.int64()),
                "price": pa.array([Decimal(2) for _ in part], numeric),
                "quantity": pa.array([Decimal(quantity) for _, (_, quantity) in part], numeric),
                "traded_at": pa.array(
                    [start + timedelta(minutes=minute) for _, (minute, _) in part],
                    pa.timestamp("us", tz="UTC"),
                ),
            }
        )
        minutes.add(counted(table, "trades"))
    for number, (minute, quantity) in enumerate(rows):
        expected[start + timedelta(minutes=minute)].append((number, quantity))
    found = minutes.by_start()
    assert set(found) == set(expected)
    for at, inside in expected.items():
        minute = found[at]
        assert minute.trades == len(inside)
        assert minute.volume == sum(quantity for _, quantity in inside)
        assert minute.quote_volume == 2 * minute.volume
        assert (minute.first_id, minute.last_id) == (inside[0][0], inside[-1][0])


def test_units_have_ids_of_their_own() -> None:
    units = [Day(s, k, date(2026, 3, d)) for s in ("A", "B") for k in KINDS for d in (1, 2)]
    assert len({unit.frame_id for unit in units}) == len(units)
