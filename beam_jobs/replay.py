"""The steps of a replay: find what is missing, load it, look again, write the proof.

An hour of arrival of one channel is compared at a time: one query finds what its table has of the
archive's frames.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.archive import ArchiveKey, storage_client, upload
from beam_jobs.compare import (
    FoundTotals,
    FrameCount,
    Missing,
    count_frame,
    differences,
    find_missing,
    without,
)
from beam_jobs.frames import DecodedFrame, decode_received
from beam_jobs.load import LoadDecoded, ledger_by_table
from beam_jobs.proof import HourProof, proof_document, sums_by_symbol
from beam_jobs.read_archive import Problem, hour_of, open_frame
from beam_jobs.table_totals import TableTotals
from beam_jobs.tables import bigquery_client
from market_data.tables import FRAMES, Table
from market_data.totals import SymbolTotals

BEFORE: Final = "before"
# A frame that was loaded so recently may still be on its way to the archive.
GRACE: Final = timedelta(minutes=10)

Hour = tuple[ArchiveKey, Iterable[FrameCount | None]]
Before = Mapping[ArchiveKey, list[SymbolTotals]]


def count(data: bytes, symbols: frozenset[str]) -> tuple[ArchiveKey, FrameCount]:
    """Return the hour of an archived frame and what it becomes in its table."""
    received = open_frame(data)
    return hour_of(received), count_frame(decode_received(received, datetime.now(UTC)), symbols)


class _Compare(beam.DoFn):
    """A step that asks the tables.

    Args:
        project: project of the tables.
        dataset: dataset of all tables; None for each table's own.
    """

    def __init__(self, project: str, dataset: str | None) -> None:
        self._project = project
        self._dataset = dataset

    def setup(self) -> None:
        """Make the clients."""
        self._client = bigquery_client(self._project)
        self._tables = TableTotals(self._client, self._dataset)
        self._originals = TableTotals(self._client, None)

    def teardown(self) -> None:
        """Close the client."""
        self._client.close()


class FindMissing(_Compare):
    """Compare the frames of an hour with the tables.

    Outputs:
        main: (frame id, Missing).
        before: (hour, totals that the table has of its frames).

    Args:
        project: project of the tables.
        dataset: dataset of all tables; None for each table's own.
        symbols: the symbols that are replayed; none for all.
    """

    def __init__(self, project: str, dataset: str | None, symbols: frozenset[str]) -> None:
        super().__init__(project, dataset)
        self._symbols = symbols

    def process(self, element: Hour) -> Iterator[Any]:
        """Yield what is missing of one hour."""
        key, frames = element[0], _frames(element)
        found = _of(frames, self._tables.totals(key.channel, frames))
        missing = [
            each
            for each in find_missing(frames, found, self._tables.entered(key))
            if each.rows or not self._symbols  # an entry of a part would be none
        ]
        partial = {
            each.frame_id
            for each in missing
            if any((each.frame_id, symbol) in found for symbol in each.rows)
        }
        there = self._tables.ids(key.channel, [f for f in frames if f.frame_id in partial])
        for each in missing:
            rows = {
                symbol: there.get((each.frame_id, symbol), nothing)
                for symbol, nothing in each.rows.items()
            }
            yield each.frame_id, dataclasses.replace(each, rows=rows)
        yield beam.pvalue.TaggedOutput(BEFORE, (key, list(found.values())))


class LoadMissing(LoadDecoded):
    """Append what is missing of archived frames.

    A frame that is in the ledger gets no second entry; the symbols that were appended do, which
    tells dbt what to build anew.

    Outputs:
        main: number of rows appended, one a frame.
        rejections: Rejection, of frames that were never loaded.

    Args:
        project: project of the tables.
        dataset: dataset of all tables; None for each table's own.
        symbols: the symbols that are replayed; none for all.
    """

    def __init__(self, project: str, dataset: str | None, symbols: frozenset[str]) -> None:
        super().__init__(project, dataset)
        self._symbols = symbols

    def start_bundle(self) -> None:
        """Begin with nothing."""
        super().start_bundle()
        self._unentered: set[str] = set()

    def process(self, element: bytes, missing: Mapping[str, Missing]) -> Iterator[Any]:
        """Append what is missing of one frame, if anything is."""
        received = open_frame(element)
        found = missing.get(received.frame.header.frame_id)
        if found is None:
            return
        decoded = decode_received(received, datetime.now(UTC))
        rows = decoded.rows
        if rows is not None:
            rows = without(rows, decoded.entry.channel, found)
        is_whole = not found.is_entered and not self._symbols
        if is_whole:
            self._unentered.add(found.frame_id)
        yield from self.take(
            dataclasses.replace(
                decoded,
                rows=rows,
                totals=tuple(
                    totals for totals in decoded.totals if is_whole or totals.symbol in found.rows
                ),
                rejections=[] if found.is_entered else decoded.rejections,
            )
        )
        yield 0 if rows is None else rows.num_rows

    def ledger(
        self, frames: Sequence[DecodedFrame], loaded_at: datetime
    ) -> dict[Table, list[pa.RecordBatch]]:
        """Return the ledger's rows; an entry for frames that had none."""
        ledger = ledger_by_table(frames, loaded_at)
        unentered = pa.array(sorted(self._unentered), pa.string())
        if FRAMES in ledger:
            (entries,) = ledger.pop(FRAMES)
            entries = entries.filter(pc.is_in(entries.column("frame_id"), unentered))
            if entries.num_rows:
                ledger[FRAMES] = [entries]
        return ledger


class ProveHours(_Compare):
    """Compare the frames of an hour with the tables again, when everything is loaded.

    Outputs:
        main: HourProof.
    """

    def process(
        self, element: Hour, replayed: Iterable[int], before: Before
    ) -> Iterator[HourProof]:
        """Yield the proof of one hour; `replayed` is there when the last row is acknowledged."""
        key, frames = element[0], _frames(element)
        found = _of(frames, self._tables.totals(key.channel, frames))
        archived = {frame.frame_id for frame in frames}
        settled = datetime.now(UTC) - GRACE
        yield HourProof(
            key=key,
            frames=len(frames),
            archive=sums_by_symbol(totals for frame in frames for totals in frame.totals),
            before=sums_by_symbol(before.get(key, [])),
            table=sums_by_symbol(found.values()),
            differences=differences(frames, found),
            unarchived=sorted(
                frame_id
                for frame_id, entry in self._originals.entered(key).items()
                if frame_id not in archived
                and entry.loaded_at <= settled
                and entry.source != "archive"
            ),
        )


class WriteProof(beam.DoFn):
    """Write the proof to the bucket.

    Args:
        bucket: bucket of the archive.
        project: project of the storage client.
        name: name of the object.
        asked: what was to be replayed.
    """

    def __init__(self, bucket: str, project: str, name: str, asked: Mapping[str, Any]) -> None:
        self._bucket = bucket
        self._project = project
        self._name = name
        self._asked = dict(asked)

    def process(
        self,
        element: object,
        hours: Iterable[HourProof],
        problems: Iterable[Problem],
        replayed: Iterable[int],
    ) -> None:
        """Write it; all of the arguments come from other steps."""
        asked = {**self._asked, "ended_at": datetime.now(UTC).isoformat(timespec="seconds")}
        document = proof_document(asked, hours, (each.what for each in problems), replayed)
        data = json.dumps(document, indent=1, ensure_ascii=False).encode()
        upload(storage_client(self._project), self._bucket, self._name, data, "application/json")


def _frames(element: Hour) -> list[FrameCount]:
    """Return the frames of an hour in order; None stands for the hour itself."""
    frames = [frame for frame in element[1] if frame is not None]
    return sorted(frames, key=lambda frame: frame.frame_id)


def _of(frames: Iterable[FrameCount], found: FoundTotals) -> FoundTotals:
    """Return the totals of these frames and their symbols only."""
    wanted = {(frame.frame_id, each.symbol) for frame in frames for each in frame.totals}
    return {name: totals for name, totals in found.items() if name in wanted}
