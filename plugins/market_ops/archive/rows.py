"""Rows: trades as fixed-width numpy records, sorted, de-duplicated and summed exactly.

A record is 53 bytes; sorting and merging move whole records, and a file of them is read by offset.
Prices and quantities are Arrow's decimal128(38, 9), which is what BigQuery's NUMERIC holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Rows = npt.NDArray[np.void]

ROW: Final = np.dtype(
    [
        ("symbol", "<i4"),
        ("trade_id", "<i8"),
        ("price", "V16"),
        ("quantity", "V16"),
        ("traded_at", "<i8"),
        ("is_buyer_maker", "?"),
    ]
)
NUMERIC: Final = pa.decimal128(38, 9)
TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_MILLISECONDS: Final = pa.timestamp("ms", tz="UTC")
# As many digits as Parquet stores in 64 bits.
NARROW_DIGITS: Final = 18
HOUR_US: Final = 3_600_000_000
_SCALE: Final = 9
# numpy moves a plain run of bytes five times as fast as a record with fields.
_BYTES: Final = np.dtype(("V", ROW.itemsize))


class ConflictingTrades(ValueError):
    """Two trades share symbol and id and differ in price, quantity, time or side."""


class Symbols:
    """Symbols by number, in order of appearance."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        """Return the symbol's number; a new one gets the next."""
        code = self._codes.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code

    def totals(self, codes: npt.NDArray[np.int32], ids: npt.NDArray[np.int64]) -> SymbolTotals:
        """Return the control totals by symbol of numbered trades."""
        return {self.names[code]: totals for code, totals in totals_by_symbol(codes, ids)}

    def codes(self, names: pa.DictionaryArray) -> npt.NDArray[np.int32]:
        """Return the numbers of a column of symbols."""
        numbers = np.array([self.code(name) for name in names.dictionary.to_pylist()], np.int32)
        found: npt.NDArray[np.int32] = numbers[names.indices.to_numpy()]
        return found


@dataclass(frozen=True, slots=True)
class Totals:
    """Control totals of one symbol.

    Attributes:
        count: number of trades.
        sum_ids: sum of the trade ids.
        first_id: smallest trade id.
        last_id: largest trade id.
    """

    count: int
    sum_ids: int
    first_id: int
    last_id: int

    def __add__(self, other: Totals) -> Totals:
        """Return the totals of both together."""
        return Totals(
            self.count + other.count,
            self.sum_ids + other.sum_ids,
            min(self.first_id, other.first_id),
            max(self.last_id, other.last_id),
        )

    @classmethod
    def of(cls, ids: npt.NDArray[np.int64]) -> Totals:
        """Count one symbol's ids, sorted and at least one."""
        # Two halves, because a sum of ids may leave 64 bits.
        high, low = (int(half.sum()) for half in (ids >> 32, ids & 0xFFFFFFFF))
        return cls(len(ids), (high << 32) + low, int(ids[0]), int(ids[-1]))

    @property
    def document(self) -> dict[str, int]:
        """The totals as JSON."""
        return asdict(self)


SymbolTotals = dict[str, Totals]


def add_totals(into: SymbolTotals, symbol: str, totals: Totals) -> None:
    """Add a symbol's totals."""
    into[symbol] = into[symbol] + totals if symbol in into else totals


def totals_by_symbol(
    codes: npt.NDArray[np.int32], ids: npt.NDArray[np.int64]
) -> Iterator[tuple[int, Totals]]:
    """Yield each symbol's number and its control totals."""
    if not len(codes):
        return
    if (codes[1:] < codes[:-1]).any():
        order = _order(codes)
        codes, ids = codes[order], ids[order]
    starts = _starts(codes)
    counts = np.diff(np.append(starts, len(codes)))
    # Two halves, because a sum of ids may leave 64 bits.
    high, low = (np.add.reduceat(half, starts) for half in (ids >> 32, ids & 0xFFFFFFFF))
    columns = (codes[starts], counts, high, low)
    first, last = (extreme.reduceat(ids, starts) for extreme in (np.minimum, np.maximum))
    for code, count, upper, lower, smallest, largest in zip(
        *(column.tolist() for column in (*columns, first, last)), strict=True
    ):
        yield code, Totals(count, (upper << 32) + lower, smallest, largest)


def _order(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    # numpy sorts 16 bits by radix, more of them by comparing.
    return np.argsort(codes.astype(np.uint16) if codes.max() < 2**16 else codes, kind="stable")


def _starts(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    return np.append(0, np.flatnonzero(codes[1:] != codes[:-1]) + 1)


def by_symbol(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """Yield each symbol's number and its rows, in their order."""
    if not len(rows):
        return
    codes = rows["symbol"]
    if (codes[1:] < codes[:-1]).any():
        rows = taken(rows, _order(codes))
    starts = _starts(rows["symbol"]).tolist()
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield int(rows["symbol"][start]), rows[start:stop]


def hours_of(rows: Rows) -> set[int]:
    """Return the hours of trading (hours since 1970) of some rows."""
    if not len(rows):
        return set()
    times = rows["traded_at"]
    first, last = (int(time) // HOUR_US for time in (times.min(), times.max()))
    return {first} if first == last else set(np.unique(times // HOUR_US).tolist())


def by_hour(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """Yield each hour of trading (hours since 1970) and its rows, in their order."""
    found = hours_of(rows)
    if len(found) == 1:
        yield found.pop(), rows
    elif found:
        hours = rows["traded_at"] // HOUR_US
        for hour in sorted(found):
            yield hour, taken(rows, np.flatnonzero(hours == hour))


def sorted_by_id(rows: Rows) -> Rows:
    """Return one symbol's rows in order of their ids."""
    ids = rows["trade_id"]
    if (ids[1:] >= ids[:-1]).all():
        return rows
    return taken(rows, np.argsort(ids, kind="stable"))


def without_duplicates(rows: Rows, symbol: str) -> Rows:
    """Return one symbol's rows, sorted by id, with one row an id.

    Raises:
        ConflictingTrades: two rows share an id and are not the same trade.
    """
    ids = rows["trade_id"]
    is_new = np.append(True, ids[1:] != ids[:-1])
    if is_new.all():
        return rows
    repeated = np.flatnonzero(~is_new)
    if rows[repeated].tobytes() != rows[repeated - 1].tobytes():
        found = next(i for i in repeated if rows[i].tobytes() != rows[i - 1].tobytes())
        both = [_shown(row) for row in (rows[found - 1], rows[found])]
        raise ConflictingTrades(
            f"{symbol}, trade {rows[found]['trade_id']}: received as {both[0]} and as {both[1]}; "
            "nothing was written or may be deleted; compare with Binance's historicalTrades and "
            "move the wrong raw object away"
        )
    return taken(rows, np.flatnonzero(is_new))


def _shown(row: Any) -> str:
    price, quantity = (_decimal(bytes(row[name])) for name in ("price", "quantity"))
    side = "sell" if row["is_buyer_maker"] else "buy"
    return f"{side} {quantity} at {price}, {row['traded_at']} µs"


def _decimal(data: bytes) -> Decimal:
    return Decimal(int.from_bytes(data, "little", signed=True)).scaleb(-_SCALE)


@dataclass(frozen=True, slots=True)
class Digits:
    """How many digits a symbol's trades need.

    Attributes:
        price: before and after the point.
        quantity: before and after the point.
        second: after the point of a trade time in seconds, 3 or 6.
    """

    price: tuple[int, int] = (0, 0)
    quantity: tuple[int, int] = (0, 0)
    second: int = 3

    @classmethod
    def of(cls, rows: Rows) -> Digits:
        """Count the digits of some rows."""
        second = 6 if (rows["traded_at"] % 1000).any() else 3
        return cls(_digits(rows["price"]), _digits(rows["quantity"]), second)

    def __or__(self, other: Digits) -> Digits:
        """Return what is enough for both."""
        price, quantity = _larger(self.price, other.price), _larger(self.quantity, other.quantity)
        return Digits(price, quantity, max(self.second, other.second))


def _larger(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0]), max(one[1], other[1])


def _digits(column: npt.NDArray[np.void]) -> tuple[int, int]:
    words = np.ascontiguousarray(column).view(np.int64).reshape(-1, 2)
    low = words[:, 0]
    if words[:, 1].any() or (low < 0).any():
        return NUMERIC.precision - _SCALE, _SCALE  # beyond 64 bits: rare, and stored as it is
    zeros = _SCALE
    while (low[:64] % 10**zeros).any() or (low % 10**zeros).any():
        zeros -= 1
    return len(str(int(low.max()) // 10**_SCALE)), _SCALE - zeros


def schema_of(digits: Digits) -> pa.Schema:
    """Return the Arrow schema of compacted trades, of the smallest types that hold all exactly.

    Up to 18 digits are 64-bit integers in Parquet, and in Arrow when it reads them again. BigQuery
    takes every one of the types as NUMERIC or TIMESTAMP.
    """
    time = TIMESTAMP if digits.second == 6 else _MILLISECONDS
    return pa.schema(
        [
            pa.field("symbol", pa.string(), nullable=False),
            pa.field("trade_id", pa.int64(), nullable=False),
            pa.field("price", _decimal_type(digits.price), nullable=False),
            pa.field("quantity", _decimal_type(digits.quantity), nullable=False),
            pa.field("is_buyer_maker", pa.bool_(), nullable=False),
            pa.field("traded_at", time, nullable=False),
        ]
    )


def _decimal_type(digits: tuple[int, int]) -> pa.DataType:
    return pa.decimal64(NARROW_DIGITS, digits[1]) if sum(digits) <= NARROW_DIGITS else NUMERIC


def to_arrow(rows: Rows, symbol: str, schema: pa.Schema) -> pa.RecordBatch:
    """Return one symbol's rows as an Arrow batch; a value that does not fit raises ArrowInvalid."""
    columns = [
        pa.repeat(symbol, len(rows)),
        pa.array(rows["trade_id"]),
        _decimals(rows["price"], schema.field("price").type),
        _decimals(rows["quantity"], schema.field("quantity").type),
        pa.array(rows["is_buyer_maker"]),
        pa.array(rows["traded_at"]).cast(TIMESTAMP).cast(schema.field("traded_at").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _decimals(column: npt.NDArray[np.void], kind: pa.DataType) -> pa.Array:
    values = np.ascontiguousarray(column)
    if kind != NUMERIC:
        # What Arrow's cast does, at a fifth of its cost.
        step = 10 ** (_SCALE - kind.scale)
        words = values.view(np.int64).reshape(-1, 2)
        values = words[:, 0] // step
        if words[:, 1].any() or (values * step != words[:, 0]).any():
            raise pa.ArrowInvalid(f"a value does not fit {kind}")
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def microseconds(times: pa.Array) -> npt.NDArray[np.int64]:
    """Return a column of times in µs since 1970."""
    found: npt.NDArray[np.int64] = times.cast(TIMESTAMP).cast(pa.int64()).to_numpy()
    return found


def from_columns(symbols: npt.NDArray[np.int32], columns: Sequence[pa.Array]) -> Rows:
    """Return rows of symbol numbers and the Arrow columns id, price, quantity, µs, side."""
    ids, prices, quantities, times, sides = columns
    rows = np.empty(len(symbols), ROW)
    rows["symbol"] = symbols
    rows["trade_id"] = ids.to_numpy()
    rows["price"] = _bytes_of(prices)
    rows["quantity"] = _bytes_of(quantities)
    rows["traded_at"] = times
    rows["is_buyer_maker"] = sides.to_numpy(zero_copy_only=False)
    return rows


def _bytes_of(column: pa.Array) -> npt.NDArray[np.void]:
    column = column if column.type == NUMERIC else column.cast(NUMERIC)
    values = np.frombuffer(column.buffers()[1], "V16")
    return values[column.offset : column.offset + len(column)]


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts in one array."""
    return (
        np.concatenate([part.view(_BYTES) for part in parts]).view(ROW)
        if parts
        else np.empty(0, ROW)
    )


def copy_rows(into: Rows, rows: Rows) -> None:
    """Copy rows over as many others."""
    into.view(_BYTES)[:] = rows.view(_BYTES)


def taken(rows: Rows, places: npt.NDArray[np.int64]) -> Rows:
    """Return the rows at some places."""
    found: Rows = rows.view(_BYTES).take(places).view(ROW)
    return found
