from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from market_data import totals
from market_data.layouts import BOOK_TICKER, TRADE
from market_data.tables import BOOK_TICKERS, TRADES
from market_data.totals import SymbolTotals, exact_sum, times_by_symbol, totals_by_symbol

NUMERIC = pa.decimal128(38, 9)
amounts = st.integers(1, 10**20).map(lambda units: Decimal(units).scaleb(-8))
trades = st.lists(
    st.tuples(st.sampled_from("ABC"), st.integers(0, 2**63 - 1), amounts, amounts),
    min_size=1,
    max_size=20,
)


def to_batch(rows: list) -> pa.RecordBatch:
    columns = {
        "symbol": pa.array([row[0] for row in rows]),
        "trade_id": pa.array([row[1] for row in rows], pa.int64()),
        "quantity": pa.array([row[2] for row in rows], NUMERIC),
        "quote_quantity": pa.array([row[3] for row in rows], NUMERIC),
    }
    nulls = {
        field.name: pa.nulls(len(rows), field.type)
        for field in TRADES.arrow_schema
        if field.name not in columns
    }
    return pa.RecordBatch.from_pydict(columns | nulls, schema=TRADES.arrow_schema)


@given(trades)
def test_totals_are_the_exact_sums(rows: list) -> None:
    for found in totals_by_symbol(to_batch(rows), TRADE):
        mine = [row for row in rows if row[0] == found.symbol]
        assert found == SymbolTotals(
            symbol=found.symbol,
            first_id=min(row[1] for row in mine),
            last_id=max(row[1] for row in mine),
            count=len(mine),
            sum_ids=Decimal(sum(row[1] for row in mine)),
            sum_quantity=sum(row[2] for row in mine),
            sum_quote_quantity=sum(row[3] for row in mine),
        )
    assert sum(found.count for found in totals_by_symbol(to_batch(rows), TRADE)) == len(rows)


@given(trades)
def test_both_ways_of_adding_agree(rows: list) -> None:
    small = [(symbol, row_id % 10**9, quantity, quote) for symbol, row_id, quantity, quote in rows]
    batch = to_batch(small)
    columns = {
        "symbol": batch.column("symbol"),
        "id": batch.column("trade_id"),
        "quantity": batch.column("quantity"),
        "quote_quantity": batch.column("quote_quantity"),
    }
    assert totals_by_symbol(batch, TRADE) == totals._totals_in_python(columns)


def test_the_order_of_rows_and_batches_does_not_matter() -> None:
    rows = [("A", 1, Decimal("0.1"), Decimal(1)), ("A", 2, Decimal("0.2"), Decimal(2))]
    assert totals_by_symbol(to_batch(rows), TRADE) == totals_by_symbol(to_batch(rows[::-1]), TRADE)


def test_times_are_of_the_column_that_the_table_is_partitioned_by() -> None:
    at = [datetime(2024, 8, 8, 0, 0, second, tzinfo=UTC) for second in (9, 3, 5)]
    batch = to_batch([(symbol, 1, Decimal(1), Decimal(1)) for symbol in "ABA"])
    index = batch.schema.get_field_index("traded_at")
    batch = batch.set_column(
        index, batch.schema.field(index), pa.array(at, batch.schema[index].type)
    )
    assert times_by_symbol(batch, TRADE) == {"A": (at[2], at[0]), "B": (at[1], at[1])}
    assert times_by_symbol(to_batch([]), TRADE) == {}


def test_sums_beyond_numeric_are_none() -> None:
    huge = Decimal(10) ** 28 * 9
    (found,) = totals_by_symbol(to_batch([("A", 1, huge, huge), ("A", 2, huge, huge)]), TRADE)
    assert (found.count, found.sum_quantity) == (2, None)


def test_channels_without_quantities_have_ids_only() -> None:
    names = BOOK_TICKERS.arrow_schema
    columns = {"symbol": pa.array(["A"]), "update_id": pa.array([5], pa.int64())}
    nulls = {f.name: pa.nulls(1, f.type) for f in names if f.name not in columns}
    batch = pa.RecordBatch.from_pydict(columns | nulls, schema=names)
    (found,) = totals_by_symbol(batch, BOOK_TICKER)
    assert (found.sum_ids, found.sum_quantity) == (Decimal(5), None)


def test_no_rows_no_totals() -> None:
    assert totals_by_symbol(to_batch([]), TRADE) == ()


def test_a_sum_with_a_missing_part_is_none() -> None:
    assert exact_sum([Decimal(1), None]) is None
    assert exact_sum([]) is None
    assert exact_sum([Decimal(1), Decimal(2)]) == 3
