"""Control totals: count, ids and exact sums per symbol; equal at every stage, or a frame is named.

Adding is exact and associative, so totals of frames, objects, tables and days can be compared
whatever the batches were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from market_data.layouts import Layout
from market_data.numbers import EXACT, fits_numeric


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolTotals:
    """Control totals of one symbol.

    Attributes:
        symbol: symbol as Binance spells it.
        first_id: smallest id.
        last_id: largest id.
        count: number of rows.
        sum_ids: sum of the ids.
        sum_quantity: sum of quantity; None for channels without one.
        sum_quote_quantity: sum of quote quantity; None for channels without one.
    """

    symbol: str
    first_id: int
    last_id: int
    count: int
    sum_ids: Decimal
    sum_quantity: Decimal | None
    sum_quote_quantity: Decimal | None


_TOTALS: Final = (
    *("symbol", "id_min", "id_max", "id_count", "id_sum"),
    *("quantity_sum", "quote_quantity_sum"),
)
_INT64: Final = 2**63
# Above this a sum could leave 128 bits before we look at it.
_DECIMAL128: Final = Decimal(10) ** 29


def totals_by_symbol(rows: pa.RecordBatch, layout: Layout) -> tuple[SymbolTotals, ...]:
    """Return the control totals of a batch, ordered by symbol.

    A channel without ids has none. Sums that NUMERIC can't hold are None: only a made-up message
    can reach them.
    """
    if rows.num_rows == 0 or not layout.id_column:
        return ()
    columns = {"symbol": rows.column("symbol"), "id": _ids(rows, layout)}
    aggregates = [("id", "min"), ("id", "max"), ("id", "count"), ("id", "sum")]
    if layout.quantity_columns is not None:
        for name, column in zip(
            ("quantity", "quote_quantity"), layout.quantity_columns, strict=True
        ):
            columns[name] = rows.column(column)
            aggregates.append((name, "sum"))
    if not _sums_fit(columns):
        return _totals_in_python(columns)
    grouped = pa.table(columns).group_by("symbol").aggregate(aggregates).sort_by("symbol")
    nothing = [None] * grouped.num_rows
    return tuple(
        SymbolTotals(
            symbol=symbol,
            first_id=first_id,
            last_id=last_id,
            count=count,
            sum_ids=Decimal(sum_ids),
            sum_quantity=sum_quantity,
            sum_quote_quantity=sum_quote_quantity,
        )
        for symbol, first_id, last_id, count, sum_ids, sum_quantity, sum_quote_quantity in zip(
            *(
                grouped[name].to_pylist() if name in grouped.column_names else nothing
                for name in _TOTALS
            ),
            strict=True,
        )
    )


def times_by_symbol(rows: pa.RecordBatch, layout: Layout) -> dict[str, tuple[datetime, datetime]]:
    """Return the first and last time of each symbol in a batch, by the table's partition column."""
    columns = {"symbol": rows.column("symbol"), "at": rows.column(layout.table.partition_column)}
    spans = pa.table(columns).group_by("symbol").aggregate([("at", "min"), ("at", "max")])
    found = (spans[name].to_pylist() for name in ("symbol", "at_min", "at_max"))
    return {symbol: (first, last) for symbol, first, last in zip(*found, strict=True)}


def _ids(rows: pa.RecordBatch, layout: Layout) -> pa.Array:
    column = rows.column(layout.id_column)
    return column if pa.types.is_int64(column.type) else column.cast(pa.int64())


def _sums_fit(columns: dict[str, pa.Array]) -> bool:
    count = len(columns["id"])
    if pc.max(columns["id"]).as_py() * count >= _INT64:
        return False
    return all(
        pc.max(columns[name]).as_py() * count < _DECIMAL128
        for name in ("quantity", "quote_quantity")
        if name in columns
    )


def _totals_in_python(columns: dict[str, pa.Array]) -> tuple[SymbolTotals, ...]:
    rows: dict[str, list[tuple[int, Decimal | None, Decimal | None]]] = {}
    nothing = [None] * len(columns["id"])
    for symbol, row_id, quantity, quote in zip(
        columns["symbol"].to_pylist(),
        columns["id"].to_pylist(),
        columns["quantity"].to_pylist() if "quantity" in columns else nothing,
        columns["quote_quantity"].to_pylist() if "quote_quantity" in columns else nothing,
        strict=True,
    ):
        rows.setdefault(symbol, []).append((row_id, quantity, quote))
    return tuple(
        SymbolTotals(
            symbol=symbol,
            first_id=min(row[0] for row in rows[symbol]),
            last_id=max(row[0] for row in rows[symbol]),
            count=len(rows[symbol]),
            sum_ids=Decimal(sum(row[0] for row in rows[symbol])),
            sum_quantity=exact_sum([row[1] for row in rows[symbol]]),
            sum_quote_quantity=exact_sum([row[2] for row in rows[symbol]]),
        )
        for symbol in sorted(rows)
    )


def exact_sum(values: Sequence[Decimal | None]) -> Decimal | None:
    """Return the sum; None when a part is missing, there is none, or NUMERIC can't hold it."""
    with localcontext(EXACT):
        total = sum((value for value in values if value is not None), Decimal(0))
        return total if values and None not in values and fits_numeric(total) else None
