"""Batches: a frame's lines to one exact Arrow batch, without a Python object per value.

The fast way checks the whole body against the layout's template and reads columns off it. What
does not fit goes the careful way, line by line through `market_data.decode`, so that a bad line
never costs its neighbours and both ways give the same rows (a property test holds it).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from market_data.channels import channel_of
from market_data.decode import Ignored, Origin, check_symbol, decode_line
from market_data.frames import split_lines
from market_data.layouts import (
    EARLIEST_US,
    LATEST_US,
    LAYOUTS,
    MICROSECONDS_FROM,
    Kind,
    Layout,
)
from market_data.records import MarketRecord
from market_data.rejections import Rejected
from market_data.scan import Positions, Scan, Unusual
from market_data.tables import Table
from market_data.template import RECEIVED_AT, STREAM, SYMBOL, template_of

NUMERIC: Final = pa.decimal128(38, 9)
# Ten integer digits and 8 decimals: the product of two has 36 digits and fits 128 bits.
_FACTOR: Final = pa.decimal128(18, 8)
_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_DECIMAL_BYTES: Final = 29  # even if all are digits before the point, NUMERIC holds them


Places = dict[str, tuple[Positions, Positions]]


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
        except (Unusual, Rejected, pa.ArrowException):
            pass  # the careful way finds out what it is, and where
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
    template = template_of(layout)
    if template is None:
        raise Unusual
    scan = Scan(body)
    places = template.locate(scan)
    count = len(places[RECEIVED_AT][0])
    columns: dict[str, pa.Array] = {
        "market": pa.repeat(origin.market, count),
        "source": pa.repeat(origin.source, count),
        "collector": pa.repeat(origin.collector, count),
        "frame_id": pa.repeat(origin.frame_id, count),
        "loaded_at": pa.repeat(pa.scalar(origin.loaded_at, _TIMESTAMP), count),
        "symbol": _symbols(scan, places, layout),
        "received_at": _times(scan.integers(*places[RECEIVED_AT]), is_ours=True),
    }
    for slot in template.slots:
        if slot.column not in columns and slot.column != STREAM:
            columns[slot.column] = _column(scan, places[slot.column], slot.kind)
    if layout.quantity_columns is not None:
        columns["quote_quantity"] = _products(columns["price"], columns["quantity"])
    schema = layout.table.arrow_schema
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _symbols(scan: Scan, places: Places, layout: Layout) -> pa.Array:
    """Return the payloads' symbols; each must belong to its line's stream."""
    coded = []
    for column in (STREAM, SYMBOL):
        texts, gathered = scan.texts(*places[column])
        if ((gathered == ord('"')) | (gathered == ord("\\"))).any():
            raise Unusual
        texts.validate(full=True)
        coded.append(texts.dictionary_encode())
    streams, symbols = coded
    stream_names, symbol_names = streams.dictionary.to_pylist(), symbols.dictionary.to_pylist()
    pairs = streams.indices.to_numpy().astype("i8") * len(symbol_names)
    for pair in np.unique(pairs + symbols.indices.to_numpy()).tolist():
        stream, symbol = divmod(pair, len(symbol_names))
        if _channel_of_pair(stream_names[stream], symbol_names[symbol]) != layout.channel:
            raise Unusual
    return symbols.cast(pa.string())


@functools.lru_cache(maxsize=65_536)
def _channel_of_pair(stream: str, symbol: str) -> str:
    """Return the stream's channel; remembered, for the pairs are few and always the same.

    Raises:
        Rejected: the symbol is none, or not the stream's.
    """
    check_symbol(symbol, stream)
    return channel_of(stream)


def _column(scan: Scan, place: tuple[Positions, Positions], kind: Kind) -> pa.Array:
    match kind:
        case Kind.ID:
            return pa.array(scan.integers(*place))
        case Kind.TIME:
            return _times(scan.integers(*place))
        case Kind.POSITIVE | Kind.DECIMAL:
            return _decimals(scan, place, is_positive=kind is Kind.POSITIVE)
        case Kind.FLAG:
            return pa.array(scan.flags(*place))
        case Kind.ID_OR_NONE | Kind.TEXT | Kind.NAME | Kind.WORDS:
            raise Unusual


def _times(values: npt.NDArray[np.int64], *, is_ours: bool = False) -> pa.Array:
    if not is_ours and values.max() < MICROSECONDS_FROM:
        values = values * 1000
    if values.min() < EARLIEST_US or values.max() >= LATEST_US:
        raise Unusual
    return pa.array(values).cast(_TIMESTAMP)


def _decimals(scan: Scan, place: tuple[Positions, Positions], *, is_positive: bool) -> pa.Array:
    texts, gathered = scan.texts(*place)
    # Beyond 38 digits, with those that the scale adds, Arrow's reader overflows silently.
    if pc.max(pc.binary_length(texts)).as_py() > _DECIMAL_BYTES:
        raise Unusual
    # Arrow also reads signs and exponents, Binance sends neither.
    if (((gathered < ord("0")) | (gathered > ord("9"))) & (gathered != ord("."))).any():
        raise Unusual
    array = texts.cast(NUMERIC)
    if is_positive and pc.min(array).as_py() <= 0:
        raise Unusual
    return array


def _products(prices: pa.Array, quantities: pa.Array) -> pa.Array:
    """Return price x quantity truncated to 8 decimals, as `numbers.quote_quantity` does."""
    exact = pc.multiply(prices.cast(_FACTOR), quantities.cast(_FACTOR))
    return pc.round(exact, ndigits=8, round_mode="towards_zero").cast(NUMERIC)
