"""Load: a bundle's frames become a few large appends, then their entries in the ledger.

A frame's entry is appended after BigQuery has acknowledged its rows, so a frame in ops.frames is a
frame that can be queried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa

from beam_jobs.frames import REJECTIONS, DecodedFrame, ReceivedFrame, decode_received
from beam_jobs.storage_write import StorageWriter
from market_data.records import Rejection
from market_data.tables import FRAME_SYMBOLS, FRAMES, Table
from market_data.tables import REJECTIONS as REJECTIONS_TABLE

# Dataflow's bundles may be long: append in between so that memory stays bounded.
MAX_ROWS: Final = 50_000


class LoadFrames(beam.DoFn):
    """Decode frames to Arrow and append their rows and ledger entries.

    Outputs:
        rejections: Rejection, one a line or frame that can't be used.

    Args:
        project: project of the tables.
    """

    def __init__(self, project: str) -> None:
        self._project = project

    def setup(self) -> None:
        """Open the client; it lives as long as the worker."""
        self._writer = StorageWriter(self._project)

    def start_bundle(self) -> None:
        """Begin with nothing."""
        self._frames: list[DecodedFrame] = []
        self._rows = 0

    def process(self, element: ReceivedFrame) -> Iterator[Any]:
        """Decode one frame and yield its rejections; its rows wait for the bundle's."""
        decoded = decode_received(element, datetime.now(UTC))
        self._frames.append(decoded)
        self._rows += decoded.entry.loaded_rows
        for rejection in decoded.rejections:
            yield beam.pvalue.TaggedOutput(REJECTIONS, rejection)
        if self._rows >= MAX_ROWS:
            self._append()

    def finish_bundle(self) -> None:
        """Append what is left."""
        self._append()

    def teardown(self) -> None:
        """Close the client."""
        self._writer.close()

    def _append(self) -> None:
        frames, self._frames, self._rows = self._frames, [], 0
        self._writer.append(rows_by_table(frames))
        self._writer.append(ledger_by_table(frames, datetime.now(UTC)))


class LoadRejections(beam.DoFn):
    """Append rejections to raw.rejections, a bundle at a time.

    Args:
        project: project of the table.
    """

    def __init__(self, project: str) -> None:
        self._project = project

    def setup(self) -> None:
        """Open the client; it lives as long as the worker."""
        self._writer = StorageWriter(self._project)

    def start_bundle(self) -> None:
        """Begin with nothing."""
        self._rejections: list[Rejection] = []

    def process(self, element: Rejection) -> None:
        """Keep one rejection for the end of the bundle."""
        self._rejections.append(element)

    def finish_bundle(self) -> None:
        """Append what came."""
        if self._rejections:
            rows = [dataclasses.asdict(rejection) for rejection in self._rejections]
            batch = pa.RecordBatch.from_pylist(rows, REJECTIONS_TABLE.arrow_schema)
            self._writer.append({REJECTIONS_TABLE: [batch]})

    def teardown(self) -> None:
        """Close the client."""
        self._writer.close()


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
    """Return the ledger's rows of the frames: per symbol first, a frame's own entry last.

    Args:
        frames: the frames, whose rows BigQuery has acknowledged.
        loaded_at: the time of that.
    """
    symbols = [
        {
            "frame_id": frame.entry.frame_id,
            "market": frame.entry.market,
            "channel": frame.entry.channel,
            "loaded_at": loaded_at,
            **dataclasses.asdict(totals),
        }
        for frame in frames
        for totals in frame.totals
    ]
    entries = [
        dataclasses.asdict(dataclasses.replace(frame.entry, loaded_at=loaded_at))
        for frame in frames
    ]
    return {
        table: [pa.RecordBatch.from_pylist(rows, table.arrow_schema)]
        for table, rows in ((FRAME_SYMBOLS, symbols), (FRAMES, entries))
        if rows
    }
