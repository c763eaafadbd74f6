"""Compaction: an hour of raw objects becomes Parquet, sorted by symbol and trade id, each id once.

Raw objects lie by the hour in which they were received, compacted ones by the hour of trading:

    raw/market=spot/channel=trade/dt=2026-11-22/hour=17/….ndjson.zst      and manifests
    compact/market=spot/channel=trade/dt=2026-11-22/hour=17/….parquet     and manifest.json
    compact/receipts/market=spot/channel=trade/dt=2026-11-22/hour=17.json
    compact/failures/…   only where an hour of arrival could not be compacted

An hour's `manifest.json` names the Parquet objects that make up the hour; others in the folder are
unfinished or replaced. The receipt of an hour of arrival is written last and says which raw objects
are proven to be in compacted ones: only those may be removed. Objects that come late are merged
into their hours by the next run, which takes what no receipt names.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .raw import RawObject, finished_objects, read_object, read_rows
from .rows import (
    Digits,
    Rows,
    Symbols,
    SymbolTotals,
    Totals,
    add_totals,
    from_columns,
    hours_of,
    microseconds,
    schema_of,
    to_arrow,
    without_duplicates,
)
from .spill import Spill, SpilledSymbol, merged
from .storage import Store

# Rows in memory at a time: 53 bytes each, a few copies while they are sorted and encoded.
MAX_ROWS: Final = 500_000
ROW_GROUP_ROWS: Final = 262_144
# Few enough that a batch of columns stays in a core's cache.
READ_ROWS: Final = 65_536
# A symbol with as many trades in an hour has an object of its own: one column type, and so one
# tick size, holds for a whole Parquet file.
OWN_OBJECT_ROWS: Final = 4_096
FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


class CompactionError(ValueError):
    """What was written is not what was read; the message names object, values and remedy."""


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of a channel, of arrival or of trading.

    Attributes:
        market: market of the exchange, "spot".
        start: its start, UTC.
        channel: channel of the lines.
    """

    market: str
    start: datetime
    channel: str = "trade"

    @property
    def path(self) -> str:
        """The hour's folders."""
        return f"market={self.market}/channel={self.channel}/{self.start:dt=%Y-%m-%d/hour=%H}"

    @property
    def raw_folder(self) -> str:
        """Folder of the objects that were received in it."""
        return f"raw/{self.path}/"

    @property
    def folder(self) -> str:
        """Folder of the compacted objects that were traded in it."""
        return f"compact/{self.path}/"

    @property
    def receipt(self) -> str:
        """Name of the receipt for the objects that were received in it."""
        return f"compact/receipts/{self.path}.json"

    @property
    def failure(self) -> str:
        """Name of the note that its compaction failed."""
        return f"compact/failures/{self.path}.json"

    def at(self, number: int) -> Hour:
        """Return the hour of this channel that is so many hours behind 1970."""
        return Hour(self.market, datetime.fromtimestamp(number * 3600, UTC), self.channel)


def compact_hour(
    store: Store, hour: Hour, *, scratch: Path | None = None, max_rows: int = MAX_ROWS
) -> dict[str, Any]:
    """Compact what was received in an hour and return the hour's receipt.

    It may be repeated, and ended at any moment: it takes the objects that the receipt does not
    name, and names and bytes of what it writes depend on its inputs alone.

    Args:
        store: the archive's bucket.
        hour: hour of arrival.
        scratch: folder for spilled rows; the system's for temporary files when None.
        max_rows: rows in memory at a time.

    Raises:
        CorruptObject: a raw object is not what its manifest says.
        ConflictingTrades: two trades share an id and differ.
        CompactionError: what was read back is not what was written.
        ReplacedMeanwhile: another run compacts the same hours.
    """
    written = read(store, hour.receipt)
    receipt = receipt_of(written)
    present = finished_objects(store, hour.raw_folder)
    names = [name for name in present if name not in receipt["objects"]]
    if not names:
        return receipt
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        run = _Run(store, hour, Path(folder), max_rows)
        receipt["objects"] |= {name: run.take(read_object(store, name)) for name in names}
        run.finish()
    store.replace(hour.receipt, written, as_json(receipt))
    return receipt


def hours_received(store: Store, market: str, channel: str = "trade") -> list[Hour]:
    """Return the hours of arrival that have raw objects, in order."""
    prefix = f"raw/market={market}/channel={channel}/"
    found = {name.removeprefix(prefix).rpartition("/")[0] for name in store.names(prefix)}
    starts = (datetime.strptime(f"{path}+0000", "dt=%Y-%m-%d/hour=%H%z") for path in sorted(found))
    return [Hour(market, start, channel) for start in starts]


def removable(store: Store, hour: Hour) -> list[str]:
    """Return the raw objects of an hour of arrival that are proven to be compacted, bytes and all.

    An object is not among them when one of its lines is no trade, when its trades are not those
    that the collector counted, or when it changed since.
    """
    receipt = receipt_of(read(store, hour.receipt))
    present = set(finished_objects(store, hour.raw_folder))
    return [
        name
        for name, entry in receipt["objects"].items()
        if name in present
        and entry["is_proven"]
        and hashlib.sha256(store.read(name)).hexdigest() == entry["sha256"]
        and all(name in manifest_of(store, hour.at(at))["inputs"] for at in entry["hours"])
    ]


def replaced(store: Store, hour: Hour) -> list[str]:
    """Return the Parquet objects of an hour of trading that its manifest does not name.

    They are what an ended run left or a later one replaced. Remove them when no run is at work and
    no query that began before the manifest still reads them.
    """
    named = {entry["object"] for entry in manifest_of(store, hour)["objects"]}
    names = store.names(hour.folder)
    return [name for name in names if name.endswith(".parquet") and name not in named]


def manifest_of(store: Store, hour: Hour) -> dict[str, Any]:
    """Return the manifest of an hour of trading; one without objects when it has none."""
    return _manifest(read(store, hour.folder + MANIFEST))


def _manifest(data: bytes | None) -> dict[str, Any]:
    empty = {"format": FORMAT, "inputs": {}, "objects": [], "symbols": {}, "trades": 0}
    document: dict[str, Any] = json.loads(data) if data else empty
    return document


def receipt_of(data: bytes | None) -> dict[str, Any]:
    """Return a receipt from its bytes; one without objects from None."""
    document: dict[str, Any] = json.loads(data) if data else {"format": FORMAT, "objects": {}}
    return document


def read(store: Store, name: str) -> bytes | None:
    """Return an object's bytes, None when there is none."""
    try:
        return store.read(name)
    except FileNotFoundError:
        return None


def as_json(document: dict[str, Any]) -> bytes:
    """Return a document as JSON; equal documents are equal bytes."""
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True).encode()


class _Run:
    """One run: takes raw objects, then writes each hour that they have trades of."""

    def __init__(self, store: Store, hour: Hour, folder: Path, max_rows: int) -> None:
        self._store = store
        self._hour = hour
        self._folder = folder
        self._max_rows = max_rows
        self._symbols = Symbols()
        self._spill = Spill(folder, max_rows)
        self._inputs: dict[int, dict[str, str]] = {}

    def take(self, found: RawObject) -> dict[str, Any]:
        """Read an object's trades; return its entry in the receipt."""
        others, hours = 0, set()
        codes, ids = [], []
        for rows, strange in read_rows(found, self._symbols):
            others += strange
            codes.append(rows["symbol"].copy())
            ids.append(rows["trade_id"].copy())
            hours |= hours_of(rows)
            self._spill.add(rows)
        totals = self._symbols.totals(np.concatenate(codes), np.concatenate(ids))
        for hour in hours:
            self._inputs.setdefault(hour, {})[found.name] = found.sha256
        return {
            "sha256": found.sha256,
            "bytes": len(found.data),
            "lines": found.lines,
            "other_lines": others,
            "hours": sorted(hours),
            "is_proven": not others and totals == found.totals,
        }

    def finish(self) -> None:
        """Write every hour of trading."""
        self._spill.flush()
        for number, inputs in sorted(self._inputs.items()):
            self._write_hour(self._hour.at(number), number, inputs)

    def _write_hour(self, hour: Hour, number: int, inputs: dict[str, str]) -> None:
        written = read(self._store, hour.folder + MANIFEST)
        before = _manifest(written)
        for entry in before["objects"]:
            for batch in self._read_compacted(entry):
                self._spill.add(rows_of(batch, self._symbols))
        self._spill.flush()
        parts: list[dict[str, Any]] = []
        kept: SymbolTotals = {}
        for members in self._parts(self._spill.hours[number]):
            entry, totals = self._write_object(hour, members)
            parts.append(entry)
            kept |= totals
        self._expect_all(hour, before, kept)
        document = {
            "format": FORMAT,
            "inputs": before["inputs"] | inputs,
            "objects": parts,
            "symbols": {symbol: totals.document for symbol, totals in kept.items()},
            "trades": sum(totals.count for totals in kept.values()),
        }
        self._store.replace(hour.folder + MANIFEST, written, as_json(document))

    def _parts(
        self, symbols: dict[int, SpilledSymbol]
    ) -> Iterator[list[tuple[str, SpilledSymbol]]]:
        """Yield the symbols of each object: busy ones alone, all others together."""
        named = [(self._symbols.names[code], found) for code, found in symbols.items()]
        named.sort(key=lambda each: each[0])
        quiet = [each for each in named if each[1].count < OWN_OBJECT_ROWS]
        if quiet:
            yield quiet
        yield from ([each] for each in named if each[1].count >= OWN_OBJECT_ROWS)

    def _write_object(
        self, hour: Hour, members: list[tuple[str, SpilledSymbol]]
    ) -> tuple[dict[str, Any], dict[str, Totals]]:
        """Write, upload and read back one object; return its entry and its control totals.

        Raises:
            CompactionError: what came back has other control totals.
        """
        path = self._folder / "written.parquet"
        totals = self._write_file(path, members)
        sha256 = sha256_of(path)
        # Named by its content: what is there already can only be overwritten by the same bytes.
        entry: dict[str, Any] = {
            "object": f"{hour.folder}{sha256[:16]}.parquet",
            "bytes": path.stat().st_size,
            "sha256": sha256,
            "symbols": [symbol for symbol, _ in members],
            "trades": sum(each.count for each in totals.values()),
        }
        self._store.upload(path, entry["object"])
        found: dict[str, Totals] = {}
        for batch in self._read_compacted(entry):
            codes, ids = self._symbols.codes(batch["symbol"]), batch["trade_id"].to_numpy()
            for symbol, each in self._symbols.totals(codes, ids).items():
                add_totals(found, symbol, each)
        if found != totals:
            wrong = next(s for s in sorted(found | totals) if found.get(s) != totals.get(s))
            raise CompactionError(
                f"{entry['object']}: {wrong} reads back as {found.get(wrong)}, written was "
                f"{totals.get(wrong)}; no raw object may be removed; run the compaction again"
            )
        return entry, totals

    def _write_file(
        self, path: Path, members: list[tuple[str, SpilledSymbol]]
    ) -> dict[str, Totals]:
        schema = schema_of(functools.reduce(Digits.__or__, (each.digits for _, each in members)))
        totals: dict[str, Totals] = {}
        waiting: list[pa.RecordBatch] = []
        with parquet_writer(path, schema) as writer:
            for symbol, spilled in members:
                for rows in merged(spilled.pieces, min(self._max_rows, ROW_GROUP_ROWS)):
                    kept = without_duplicates(rows, symbol)
                    add_totals(totals, symbol, Totals.of(kept["trade_id"]))
                    waiting.append(to_arrow(kept, symbol, schema))
                    if sum(map(len, waiting)) >= ROW_GROUP_ROWS // 2:
                        writer.write_table(pa.Table.from_batches(waiting, schema))
                        waiting = []
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting, schema))
        return totals

    def _read_compacted(self, entry: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        path = self._folder / "read.parquet"
        try:
            self._store.download(entry["object"], path)
        except FileNotFoundError:
            raise CompactionError(
                f"{entry['object']}: the manifest of its hour names it and it is gone; restore it, "
                "or remove the hour's manifest and the receipts, and compact from the raw objects"
            ) from None
        if sha256_of(path) != entry["sha256"]:
            raise CompactionError(
                f"{entry['object']}: its SHA-256 is not {entry['sha256']}; no raw object may be "
                "removed; run the compaction again, or restore the object"
            )
        with pq.ParquetFile(path, read_dictionary=["symbol"]) as file:
            yield from file.iter_batches(READ_ROWS, use_threads=False)
        path.unlink()

    def _expect_all(self, hour: Hour, before: dict[str, Any], kept: dict[str, Totals]) -> None:
        """Make sure that nothing that was there before is missing.

        Raises:
            CompactionError: fewer trades of a symbol than the hour had.
        """
        for symbol, totals in before["symbols"].items():
            if symbol not in kept or kept[symbol].count < totals["count"]:
                raise CompactionError(
                    f"{hour.folder}: {symbol} had {totals['count']} trades and now has "
                    f"{kept[symbol].count if symbol in kept else 0}; the manifest was not replaced"
                )


def rows_of(batch: pa.RecordBatch, symbols: Symbols) -> Rows:
    """Return compacted trades as rows."""
    columns = [batch[name] for name in ("trade_id", "price", "quantity")]
    times = microseconds(batch["traded_at"])
    return from_columns(symbols.codes(batch["symbol"]), [*columns, times, batch["is_buyer_maker"]])


@contextlib.contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet file with the encodings that are smallest for sorted trades.

    Ids and times nearly count up. Plain integers under zstd are smaller than a dictionary for
    prices and quantities, and every reader knows them; zstd 1 makes less of them than 3 to 12 do.
    """
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["symbol"],
        column_encoding={
            "trade_id": "DELTA_BINARY_PACKED",
            "traded_at": "DELTA_BINARY_PACKED",
            "price": "PLAIN",
            "quantity": "PLAIN",
        },
        store_decimal_as_integer=True,
        write_page_checksum=True,
    ) as writer:
        yield writer


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
