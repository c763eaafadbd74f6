"""Stage: a day's files, read, checked and written as Parquet on the local disk."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .minutes import Minute, Minutes, check
from .rows import Reader
from .tables import CHANNELS, IDS, INTERVAL, TIMES, Day, counted, raw_rows, with_ids
from .vision import DailyFile, Vision

if TYPE_CHECKING:
    import pyarrow as pa

KINDS: Final = tuple(CHANNELS)


@dataclass
class Totals:
    """Control totals of what was written.

    Attributes:
        rows: number of rows.
        sum_ids: sum of the ids; klines: of their ends in µs since 1970.
        sum_quantity: sum of the quantity, of klines the volume.
        sum_quote_quantity: sum of the quote quantity, of klines the quote volume.
        first_id: smallest of them.
        last_id: largest of them.
        first_at: earliest time that the table is partitioned by.
        last_at: latest one.
    """

    rows: int = 0
    sum_ids: int = 0
    sum_quantity: Decimal = Decimal(0)
    sum_quote_quantity: Decimal = Decimal(0)
    first_id: int = 0
    last_id: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add(self, table: pa.Table, kind: str) -> None:
        """Add a block of rows, which are in order."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not table.num_rows:
            return
        times = table[TIMES[kind]]
        ids = table[IDS[kind]].cast(pa.int64())
        quantity, quote = (
            ("volume", "quote_volume") if kind == "klines" else ("quantity", "quote_quantity")
        )
        if not self.rows:
            self.first_id = ids[0].as_py()
            self.first_at = pc.min(times).as_py()
        first, last = pc.min(times).as_py(), pc.max(times).as_py()
        self.first_at = min(self.first_at or first, first)
        self.last_at = max(self.last_at or last, last)
        self.last_id = ids[-1].as_py()
        self.rows += table.num_rows
        # The sum of a day's ids can leave 64 bits.
        self.sum_ids += int(pc.sum(ids.cast(pa.decimal128(38, 0))).as_py())
        self.sum_quantity += pc.sum(table[quantity]).as_py()
        if quote in table.column_names:
            self.sum_quote_quantity += pc.sum(table[quote]).as_py()


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A day's kind as a local Parquet file, valid by the official klines.

    Attributes:
        unit: what it is.
        path: the Parquet file.
        totals: of its rows.
        lines: lines of the CSV without a header.
        invalidated: aggregate trades that Binance has invalidated, which were dropped.
        differing_minutes: minutes that differ from the klines, as was allowed.
        sha256: of the zip.
        zip_bytes: its size.
        csv_bytes: size of what is in it.
        received_at: when it was downloaded.
    """

    unit: Day
    path: Path
    totals: Totals
    lines: int
    invalidated: int
    differing_minutes: int
    sha256: str
    zip_bytes: int
    csv_bytes: int
    received_at: datetime


@dataclass
class Stager:
    """Stages the files of one symbol and day.

    Attributes:
        vision: the archive.
        symbol: symbol as Binance spells it.
        day: UTC day.
        folder: where files go.
        received_at: the time that rows carry.
        allowed: minutes that may differ from the klines.
    """

    vision: Vision
    symbol: str
    day: date
    folder: Path
    received_at: datetime
    allowed: int = 0
    _zips: dict[str, tuple[Path, str]] = field(default_factory=dict, init=False)

    def stage(self, kinds: Collection[str]) -> Iterator[Staged]:
        """Yield the kinds that were asked for, each checked against the klines of the day.

        The klines' first and last ids come from the trades.

        Raises:
            VisionError: a file is missing or broken.
            Mangled: a value in it is not what it should be.
            Differs: trades and klines do not tell the same.
        """
        import pyarrow as pa

        klines = pa.concat_tables(self._reader("klines").batches())
        official = klines.select(["opened_at", "trades", "volume", "quote_volume"]).to_pylist()
        for kind in ("aggTrades", "trades"):
            if kind not in kinds and (kind == "aggTrades" or "klines" not in kinds):
                continue
            staged, minutes = self._trades(kind, official)
            if kind in kinds:
                yield staged
        if "klines" in kinds:
            yield self._klines(with_ids(klines, minutes))

    def _trades(
        self, kind: str, official: list[dict[str, Any]]
    ) -> tuple[Staged, dict[datetime, Minute]]:
        reader, minutes, totals = self._reader(kind), Minutes(), Totals()
        unit = Day(self.symbol, kind, self.day)
        blocks = self._counted(reader, kind, minutes)
        path = self._write(unit, blocks, totals)
        traded = minutes.by_start()
        differing = check(reader.path.stem, traded, official, self.allowed)
        return self._staged(unit, path, totals, reader, differing), traded

    def _counted(self, reader: Reader, kind: str, minutes: Minutes) -> Iterator[pa.Table]:
        for table in reader.batches():
            block = counted(table, kind)
            minutes.add(block)
            yield block

    def _klines(self, klines: pa.Table) -> Staged:
        unit, totals = Day(self.symbol, "klines", self.day), Totals()
        path = self._write(unit, iter([klines]), totals)
        return self._staged(unit, path, totals, None, 0)

    def _reader(self, kind: str) -> Reader:
        interval = INTERVAL if kind == "klines" else ""
        file = DailyFile(kind, self.symbol, self.day, interval)
        self._zips[kind] = self.vision.download(file, self.folder)
        return Reader(self._zips[kind][0], kind, self.day)

    def _write(self, unit: Day, blocks: Iterator[pa.Table], totals: Totals) -> Path:
        import pyarrow.parquet as pq

        path, writer = self.folder / f"{unit.kind}.parquet", None
        try:
            for block in blocks:
                totals.add(block, unit.kind)
                rows = raw_rows(block, unit, self.received_at)
                writer = writer or pq.ParquetWriter(path, rows.schema, compression="snappy")
                writer.write_table(rows)
        finally:
            if writer is not None:
                writer.close()
        return path

    def _staged(
        self, unit: Day, path: Path, totals: Totals, reader: Reader | None, differing: int
    ) -> Staged:
        packed, sha256 = self._zips[unit.kind]
        invalidated = reader.invalidated if reader else 0
        with zipfile.ZipFile(packed) as archive:
            csv_bytes = archive.infolist()[0].file_size
        return Staged(
            unit=unit,
            path=path,
            totals=totals,
            lines=totals.rows + invalidated,
            invalidated=invalidated,
            differing_minutes=differing,
            sha256=sha256,
            zip_bytes=packed.stat().st_size,
            csv_bytes=csv_bytes,
            received_at=self.received_at,
        )
