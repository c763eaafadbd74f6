"""Compare what frames hold with what tables have of them: control totals by frame and symbol.

A row is identified within its frame and symbol by its keys, so a row that was appended twice
counts once, on both sides. Adding is exact; totals of frames make those of hours and symbols.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.frames import DecodedFrame
from market_data.layouts import LAYOUTS, Layout
from market_data.totals import SymbolTotals, totals_by_symbol

# What tells a channel's rows of one frame and symbol apart; the last one is summed.
KEYS: Final = {
    "trade": ("trade_id",),
    "aggTrade": ("agg_trade_id",),
    "kline": ("kline_interval", "opened_at", "event_at"),
    "bookTicker": ("update_id",),
    "exchangeInfo": ("received_at",),
    "hole": ("channel", "first_missing_id"),
}

FoundTotals = Mapping[tuple[str, str], SymbolTotals]


@dataclass(frozen=True, slots=True)
class Span:
    """Where rows lie: in partitions of their table and in the time of arrival, µs, inclusive."""

    first_at: int
    last_at: int
    first_received_at: int
    last_received_at: int

    def __or__(self, other: Span) -> Span:
        """Return the span over both."""
        return Span(
            min(self.first_at, other.first_at),
            max(self.last_at, other.last_at),
            min(self.first_received_at, other.first_received_at),
            max(self.last_received_at, other.last_received_at),
        )


@dataclass(frozen=True, slots=True)
class FrameCount:
    """What an archived frame becomes in its table.

    Attributes:
        frame_id: the frame.
        totals: control totals by symbol, each row once.
        span: where its rows lie; None without rows.
    """

    frame_id: str
    totals: tuple[SymbolTotals, ...]
    span: Span | None


@dataclass(frozen=True, slots=True)
class Missing:
    """What is missing of a frame.

    Attributes:
        frame_id: the frame.
        rows: symbols whose rows are not all there; of each the ids that are.
        is_entered: the frame is in the ledger.
    """

    frame_id: str
    rows: dict[str, npt.NDArray[np.int64]]
    is_entered: bool


def count_frame(decoded: DecodedFrame, symbols: frozenset[str] = frozenset()) -> FrameCount:
    """Count a frame's rows.

    Args:
        decoded: the frame.
        symbols: the symbols that are replayed; none for all.
    """
    rows, channel = decoded.rows, decoded.entry.channel
    if rows is not None and symbols:
        rows = rows.filter(pc.is_in(rows.column("symbol"), pa.array(sorted(symbols))))
    if rows is None or not rows.num_rows:
        return FrameCount(decoded.entry.frame_id, (), None)
    layout = layout_of(channel)
    columns = ["symbol", *KEYS[channel], *(layout.quantity_columns or ())]
    distinct = pa.table(rows.select(columns)).group_by(columns, use_threads=False).aggregate([])
    (once,) = distinct.combine_chunks().to_batches()
    return FrameCount(
        decoded.entry.frame_id,
        totals_by_symbol(once, layout),
        Span(*_bounds(rows, layout.table.partition_column), *_bounds(rows, "received_at")),
    )


def find_missing(
    frames: Iterable[FrameCount], found: FoundTotals, entered: Container[str]
) -> Iterator[Missing]:
    """Yield what is missing of the frames; rows that contradict the archive's are not missing.

    Args:
        frames: the archive's frames.
        found: what the table has by frame and symbol.
        entered: ids of the frames in the ledger.
    """
    nothing = np.empty(0, np.int64)
    for frame in frames:
        symbols = [
            totals.symbol
            for totals in frame.totals
            if (there := found.get((frame.frame_id, totals.symbol))) is None
            or there.count < totals.count
        ]
        is_entered = frame.frame_id in entered
        if symbols or not is_entered:
            yield Missing(frame.frame_id, dict.fromkeys(symbols, nothing), is_entered)


def differences(frames: Iterable[FrameCount], found: FoundTotals) -> list[str]:
    """Return a sentence for each frame and symbol whose totals differ."""
    return [
        f"{totals.symbol} of frame {frame.frame_id}: the archive has {_words(totals)},"
        f" the table {_words(there)}"
        for frame in frames
        for totals in frame.totals
        if (there := found.get((frame.frame_id, totals.symbol))) != totals
    ]


def without(rows: pa.RecordBatch, channel: str, missing: Missing) -> pa.RecordBatch:
    """Return the rows of a frame that are missing, in order."""
    parts = []
    for symbol, there in missing.rows.items():
        mask = pc.equal(rows.column("symbol"), symbol).to_numpy(zero_copy_only=False)
        if len(there):
            ids = _integers(rows.column(KEYS[channel][-1])).to_numpy()
            mask &= ~np.isin(ids, there)
        parts.append(mask)
    chosen = np.logical_or.reduce(parts) if parts else np.zeros(rows.num_rows, bool)
    return rows.filter(pa.array(chosen))


def layout_of(channel: str) -> Layout:
    """Return the channel's layout; each has an id column here, the last of its keys."""
    return dataclasses.replace(LAYOUTS[channel], id_column=KEYS[channel][-1])


def _integers(column: pa.Array) -> pa.Array:
    return column if pa.types.is_int64(column.type) else column.cast(pa.int64())


def _bounds(rows: pa.RecordBatch, column: str) -> tuple[int, int]:
    bounds = pc.min_max(_integers(rows.column(column)))
    return bounds["min"].as_py(), bounds["max"].as_py()


def _words(totals: SymbolTotals | None) -> str:
    if totals is None:
        return "nothing"
    sums = [
        f"{name} {value}"
        for name, value in (
            ("ids", totals.sum_ids),
            ("quantity", totals.sum_quantity),
            ("quote quantity", totals.sum_quote_quantity),
        )
        if value is not None
    ]
    return f"{totals.count} rows from {totals.first_id} to {totals.last_id} ({', '.join(sums)})"
