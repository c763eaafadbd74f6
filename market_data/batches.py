"""Batches: a frame's lines to one exact Arrow batch, without a Python object per value.

The fast way decodes all lines in one call and casts whole columns. It takes only lines whose
every key is where Binance puts it: each decoded line has each required key and a colon behind it,
so the body has exactly lines x keys colons only when no key is repeated or added. Whatever is
unusual sends the frame the careful way, line by line through `market_data.decode`, so that a
bad line never costs its neighbours and both ways give the same rows (a property test holds it).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from market_data.decode import Ignored, Origin, check_event, check_symbol, check_text, decode_line
from market_data.frames import count_bytes, split_lines
from market_data.layouts import (
    EARLIEST_US,
    LATEST_US,
    LAYOUTS,
    MICROSECONDS_FROM,
    Field,
    Kind,
    Layout,
)
from market_data.records import MarketRecord
from market_data.rejections import Rejected
from market_data.tables import Table

NUMERIC: Final = pa.decimal128(38, 9)
# Ten integer digits and 8 decimals: the product of two has 36 digits and fits 128 bits.
_FACTOR: Final = pa.decimal128(18, 8)
_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


class _Unusual(Exception):
    """The body holds something that the fast way does not take."""


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that could not be decoded.

    Attributes:
        number: the line's number in the frame, from 1.
        line: its bytes.
        cause: reason, field, value and sentence.
    """

    number: int
    line: bytes
    cause: Rejected


@dataclass(frozen=True, slots=True)
class Batch:
    """What a frame's lines became; rows + ignored + rejected = lines.

    Attributes:
        rows: an Arrow batch with the table's schema; None for channels that are not loaded.
        ignored: number of ignored lines by decision.
        rejected: the lines that could not be decoded.
    """

    rows: pa.RecordBatch | None
    ignored: Counter[str] = field(default_factory=Counter)
    rejected: list[RejectedLine] = field(default_factory=list)


def decode_batch(body: bytes, channel: str, origin: Origin) -> Batch:
    """Decode the lines of a frame of `channel`.

    Args:
        body: the lines, each ended by a newline.
        channel: the channel that the frame's header names.
        origin: the frame's part of the columns.
    """
    layout = LAYOUTS.get(channel)
    if layout is not None and body:
        try:
            return Batch(_fast(body, layout, origin))
        except (_Unusual, msgspec.MsgspecError, UnicodeDecodeError, pa.ArrowException, Rejected):
            pass  # the careful way finds out what it is, and where
        except OverflowError:
            pass  # an integer beyond 64 bits
    return _careful(body, channel, layout, origin)


def _careful(body: bytes, channel: str, layout: Layout | None, origin: Origin) -> Batch:
    records: list[MarketRecord] = []
    batch = Batch(None)
    for number, line in enumerate(split_lines(body), start=1):
        try:
            decoded = decode_line(line, channel, origin)
        except Rejected as cause:
            batch.rejected.append(RejectedLine(number, line, cause))
        else:
            if isinstance(decoded, Ignored):
                batch.ignored[decoded.decision] += 1
            else:
                records.append(decoded)
    if layout is None:
        return batch
    return Batch(to_arrow(records, layout.table), batch.ignored, batch.rejected)


def to_arrow(records: Sequence[object], table: Table) -> pa.RecordBatch:
    """Return records of a table's class as an Arrow batch with the table's schema."""
    schema = table.arrow_schema
    columns = [
        pa.array([getattr(record, column.name) for record in records], column.type)
        for column in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _fast(body: bytes, layout: Layout, origin: Origin) -> pa.RecordBatch:
    count = count_bytes(body, b"\n")
    if count_bytes(body, b":") != count * layout.key_count:
        raise _Unusual
    lines = _decoder(layout).decode_lines(body)
    if len(lines) != count:
        raise _Unusual
    payloads = [line.data for line in lines]
    inners = payloads if layout.nested is None else list(map(attrgetter(layout.nested), payloads))
    symbols = _symbols(lines, payloads, layout)
    columns: dict[str, pa.Array] = {
        "market": pa.repeat(origin.market, count),
        "symbol": symbols,
        "received_at": _times([line.received_at for line in lines], is_ours=True),
        "source": pa.repeat(origin.source, count),
        "collector": pa.repeat(origin.collector, count),
        "frame_id": pa.repeat(origin.frame_id, count),
        "loaded_at": pa.repeat(pa.scalar(origin.loaded_at, _TIMESTAMP), count),
    }
    for objects, fields in ((inners, layout.fields), (payloads, layout.outer_fields)):
        for part in fields:
            columns[part.column] = _column(list(map(attrgetter(part.key), objects)), part)
    if layout.quantity_columns is not None:
        columns["quote_quantity"] = _products(columns["price"], columns["quantity"])
    schema = layout.table.arrow_schema
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _symbols(lines: list[Any], payloads: list[Any], layout: Layout) -> pa.Array:
    symbols = [payload.s for payload in payloads]
    for stream, symbol in set(zip([line.stream for line in lines], symbols, strict=True)):
        if not stream.endswith(f"@{layout.channel}") and layout.channel != "kline":
            raise _Unusual
        if layout.channel == "kline" and ("@kline_" not in stream or stream.count("@") != 1):
            raise _Unusual
        check_symbol(symbol, stream)
    if layout.event is not None:
        for event in {payload.e for payload in payloads}:
            check_event(event, layout)
    return pa.array(symbols, pa.string())


def _column(values: list[Any], part: Field) -> pa.Array:
    match part.kind:
        case Kind.ID | Kind.ID_OR_NONE:
            return _ids(values, lowest=0 if part.kind is Kind.ID else -1)
        case Kind.TIME:
            return _times(values)
        case Kind.POSITIVE | Kind.DECIMAL:
            return _decimals(values, is_positive=part.kind is Kind.POSITIVE)
        case Kind.FLAG:
            return pa.array(values, pa.bool_())
        case Kind.TEXT:
            for value in set(values):
                check_text(value, part.key)
            return pa.array(values, pa.string())


def _ids(values: list[int], lowest: int) -> pa.Array:
    if min(values) < lowest:
        raise _Unusual
    return pa.array(values, pa.int64())


def _times(values: list[int], *, is_ours: bool = False) -> pa.Array:
    lowest, highest = min(values), max(values)
    array = pa.array(values, pa.int64())
    if not is_ours and highest < MICROSECONDS_FROM:
        lowest, highest = lowest * 1000, highest * 1000
        array = pc.multiply(array, 1000)
    if lowest < EARLIEST_US or highest >= LATEST_US:
        raise _Unusual
    return array.cast(_TIMESTAMP)


def _decimals(values: list[str], *, is_positive: bool) -> pa.Array:
    text = pa.array(values, pa.string())
    # Arrow also reads signs and exponents, Binance sends neither.
    if pc.any(pc.match_substring_regex(text, "[^0-9.]")).as_py():
        raise _Unusual
    array = text.cast(NUMERIC)
    if is_positive and pc.min(array).as_py() <= 0:
        raise _Unusual
    return array


def _products(prices: pa.Array, quantities: pa.Array) -> pa.Array:
    """Return price x quantity truncated to 8 decimals, as `numbers.quote_quantity` does."""
    exact = pc.multiply(prices.cast(_FACTOR), quantities.cast(_FACTOR))
    return pc.round(exact, ndigits=8, round_mode="towards_zero").cast(NUMERIC)


@functools.cache
def _decoder(layout: Layout) -> msgspec.json.Decoder[Any]:
    """Build the decoder of a layout's canonical lines, every key required."""
    types: dict[Kind, Any] = {
        Kind.ID: int,
        Kind.ID_OR_NONE: int,
        Kind.TIME: int,
        Kind.POSITIVE: str,
        Kind.DECIMAL: str,
        Kind.FLAG: bool,
        Kind.TEXT: str,
    }
    inner: list[tuple[str, Any]] = [(part.key, types[part.kind]) for part in layout.fields]
    inner += [(key, Any) for key in layout.unread_keys]
    outer: list[tuple[str, Any]] = [("s", str)]
    outer += [(part.key, types[part.kind]) for part in layout.outer_fields]
    if layout.event is not None:
        outer.append(("e", str))
    if layout.nested is None:
        outer += inner
    else:
        outer.append((layout.nested, msgspec.defstruct("Inner", inner, gc=False)))
    payload = msgspec.defstruct("Payload", outer, gc=False)
    line = msgspec.defstruct(
        "Line", [("received_at", int), ("stream", str), ("data", payload)], gc=False
    )
    return msgspec.json.Decoder(line)
