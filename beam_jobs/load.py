"""Load: a bundle's frames become a few large appends, then their entries in the ledger.

A frame's entry is appended after BigQuery has acknowledged its rows, so a frame in ops.frames is a
frame that can be queried.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa

from beam_jobs.frames import REJECTIONS, DecodedFrame, ReceivedFrame, decode_received
from beam_jobs.storage_write import StorageWriter
from beam_jobs.tables import placed
from market_data.batches import to_arrow
from market_data.memory import keep_freed_memory
from market_data.records import FrameSymbol, Rejection
from market_data.tables import FRAME_SYMBOLS, FRAMES, Table
from market_data.tables import REJECTIONS as REJECTIONS_TABLE

# Rows are sent while the next frames are decoded: small enough to overlap, large enough to pay.
ROWS_PER_APPEND: Final = 8_000
# Dataflow's bundles may be long: wait for answers in between, so that memory stays bounded.
MAX_ROWS: Final = 80_000


class WriterPool:
    """One open StorageWriter a thread, kept over bundles.

    Runners make and set up a DoFn as often as they like, DirectRunner for every bundle; streams
    that were opened as often would cost more than the rows.
    """

    def __init__(self, project: str) -> None:
        keep_freed_memory()  # once a worker, before its first frame
        self._project = project
        self._local = threading.local()

    def get(self) -> StorageWriter:
        """Return this thread's writer."""
        writer: StorageWriter | None = getattr(self._local, "writer", None)
        if writer is None:
            writer = self._local.writer = StorageWriter(self._project)
        return writer


@functools.cache
def writer_pool(project: str) -> WriterPool:
    """Return the process's writers; Beam's `Shared` keeps one object only and drops the others."""
    return WriterPool(project)


class _Load(beam.DoFn):
    """A step that appends to tables.

    Args:
        project: project of the tables.
        dataset: dataset of all tables; None for each table's own.
    """

    def __init__(self, project: str, dataset: str | None = None) -> None:
        self._project = project
        self._dataset = dataset

    def setup(self) -> None:
        """Find the worker's writers."""
        self._pool = writer_pool(self._project)

    def _placed(self, rows: dict[Table, list[pa.RecordBatch]]) -> dict[Table, list[pa.RecordBatch]]:
        return {placed(table, self._dataset): batches for table, batches in rows.items()}


class LoadDecoded(_Load):
    """A step that appends decoded frames: their rows, then their ledger entries."""

    def start_bundle(self) -> None:
        """Begin with nothing, whatever a failed bundle has left."""
        self._writer = self._pool.get()
        self._writer.discard()
        self._frames: list[DecodedFrame] = []
        self._waiting: list[DecodedFrame] = []

    def finish_bundle(self) -> None:
        """Append what is left and enter the frames into the ledger."""
        self._finish()

    def take(self, decoded: DecodedFrame) -> Iterator[Any]:
        """Take one frame and yield its rejections; its rows go with its neighbours'."""
        self._frames.append(decoded)
        self._waiting.append(decoded)
        for rejection in decoded.rejections:
            yield beam.pvalue.TaggedOutput(REJECTIONS, rejection)
        if _count_rows(self._waiting) >= ROWS_PER_APPEND:
            self._send()
        if _count_rows(self._frames) >= MAX_ROWS:
            self._finish()

    def ledger(
        self, frames: Sequence[DecodedFrame], loaded_at: datetime
    ) -> dict[Table, list[pa.RecordBatch]]:
        """Return the ledger's rows of the frames."""
        return ledger_by_table(frames, loaded_at)

    def _send(self) -> None:
        self._writer.send(self._placed(rows_by_table(self._waiting)))
        self._waiting = []

    def _finish(self) -> None:
        self._send()
        self._writer.flush()
        self._writer.append(self._placed(self.ledger(self._frames, datetime.now(UTC))))
        self._frames = []


class LoadFrames(LoadDecoded):
    """Decode frames to Arrow and append their rows and ledger entries.

    Outputs:
        rejections: Rejection, one a line or frame that can't be used.
    """

    def process(self, element: ReceivedFrame) -> Iterator[Any]:
        """Decode one frame and yield its rejections."""
        yield from self.take(decode_received(element, datetime.now(UTC)))


class LoadRejections(_Load):
    """Append rejections to raw.rejections, a bundle at a time."""

    def start_bundle(self) -> None:
        """Begin with nothing."""
        self._rejections: list[Rejection] = []

    def process(self, element: Rejection) -> None:
        """Keep one rejection for the end of the bundle."""
        self._rejections.append(element)

    def finish_bundle(self) -> None:
        """Append what came."""
        if self._rejections:
            batch = to_arrow(self._rejections, REJECTIONS_TABLE)
            self._pool.get().append(self._placed({REJECTIONS_TABLE: [batch]}))


def rows_by_table(frames: Sequence[DecodedFrame]) -> dict[Table, list[pa.RecordBatch]]:
    """Return the rows of the frames by table, without empty batches."""
    batches: dict[Table, list[pa.RecordBatch]] = {}
    for frame in frames:
        if frame.table is not None and frame.rows is not None and frame.rows.num_rows:
            batches.setdefault(frame.table, []).append(frame.rows)
    return batches


def ledger_by_table(
    frames: Sequence[DecodedFrame], loaded_at: datetime
) -> dict[Table, list[pa.RecordBatch]]:
    """Return the ledger's rows of the frames: a frame's own entry, and one a symbol.

    Args:
        frames: the frames, whose rows BigQuery has acknowledged.
        loaded_at: the time of that.
    """
    entries = [dataclasses.replace(frame.entry, loaded_at=loaded_at) for frame in frames]
    symbols = [
        FrameSymbol(
            frame_id=frame.entry.frame_id,
            market=frame.entry.market,
            channel=frame.entry.channel,
            symbol=totals.symbol,
            first_id=totals.first_id,
            last_id=totals.last_id,
            first_at=frame.times[totals.symbol][0],
            last_at=frame.times[totals.symbol][1],
            count=totals.count,
            sum_ids=totals.sum_ids,
            sum_quantity=totals.sum_quantity,
            sum_quote_quantity=totals.sum_quote_quantity,
            loaded_at=loaded_at,
        )
        for frame in frames
        for totals in frame.totals
    ]
    return {
        table: [to_arrow(records, table)]
        for table, records in ((FRAME_SYMBOLS, symbols), (FRAMES, entries))
        if records
    }


def _count_rows(frames: Sequence[DecodedFrame]) -> int:
    return sum(frame.entry.loaded_rows for frame in frames)
