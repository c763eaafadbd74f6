"""Raw objects: the archive's zstd NDJSON of trade messages, checked and read into rows.

An object is frames one after another; a frame is a header line and the lines, each a websocket
message behind its receive time:

    {"received_at":…,"stream":"btcusdt@trade","data":{"e":"trade","E":…,"s":"BTCUSDT","t":…,…}}
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import zstandard

from .rows import NUMERIC, Rows, Symbols, Totals, from_columns
from .storage import Store

OBJECT: Final = ".ndjson.zst"
MANIFEST: Final = ".manifest.json"
# Large enough that numpy's and Arrow's cost a call does not matter, small enough for the cache.
CHUNK_BYTES: Final = 2 * 2**20
# A count of ms from 1970 reaches this in the year 5138, a count of µs passed it in 1973.
_MICROSECONDS_FROM: Final = 100_000_000_000_000
_HEADER: Final = b'{"frame_id":'
# What is fed to zstd at a time: the part behind a frame's end is copied.
_WINDOW_BYTES: Final = 64 * 2**10

# The keys of a trade line in Binance's order, each before its value. With commas for colons a line
# is CSV: quoted values lose their quotes, what begins with a brace stays as it is.
_COLUMNS: Final = (
    *('{"received_at":', "received_at", "stream:", "stream", "data:", '{"e":', "trade:"),
    *("E:", "event_at", "s:", "symbol", "t:", "trade_id", "p:", "price", "q:", "quantity"),
    *("T:", "traded_at", "m:", "is_buyer_maker", "M:", "M}}"),
)
_KEYS: Final = tuple(name for name in _COLUMNS if name.endswith(":"))
_TYPES: Final = {name: pa.binary(len(name) - 1) for name in _KEYS} | {
    "symbol": pa.dictionary(pa.int32(), pa.string()),
    "trade_id": pa.int64(),
    "price": NUMERIC,
    "quantity": NUMERIC,
    "traded_at": pa.int64(),
    "is_buyer_maker": pa.bool_(),
}
_CONVERT: Final = pa.csv.ConvertOptions(column_types=_TYPES, include_columns=list(_TYPES))
_READ: Final = pa.csv.ReadOptions(use_threads=False, column_names=list(_COLUMNS))


class CorruptObject(ValueError):
    """A raw object is not what its manifest says; the message names it and the remedy."""


class _Unusual(Exception):
    """A chunk has a line that is not in Binance's usual form."""


@dataclass(frozen=True, slots=True)
class RawObject:
    """A raw object that agrees with its manifest.

    Attributes:
        name: its name in the bucket.
        sha256: of its bytes.
        lines: number of lines, without the frames' headers.
        totals: control totals by symbol, as the collector counted them.
        data: its bytes.
    """

    name: str
    sha256: str
    lines: int
    totals: dict[str, Totals]
    data: bytes


def finished_objects(store: Store, folder: str) -> list[str]:
    """Return the names of the objects that have a manifest, in order."""
    names = store.names(folder)
    finished = {name.removesuffix(MANIFEST) for name in names if name.endswith(MANIFEST)}
    return [
        name for name in names if name.endswith(OBJECT) and name.removesuffix(OBJECT) in finished
    ]


def read_object(store: Store, name: str) -> RawObject:
    """Read an object and compare it with its manifest.

    Raises:
        CorruptObject: bytes and manifest differ, or the manifest is none.
    """
    data = store.read(name)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        manifest = json.loads(store.read(name.removesuffix(OBJECT) + MANIFEST))
        wanted, lines, frames = manifest["sha256"], manifest["lines"], manifest["frames"]
        totals = _counted(frames)
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(name, f"its manifest is none: {error!r}") from None
    if sha256 != wanted:
        raise _corrupt(name, f"its SHA-256 is {sha256}, its manifest says {wanted}")
    return RawObject(name, sha256, lines, totals, data)


def _counted(frames: list[dict[str, Any]]) -> dict[str, Totals]:
    """Return the sum of the frames' control totals by symbol."""
    found: dict[str, list[dict[str, int]]] = defaultdict(list)
    for frame in frames:
        for symbol, counted in frame.get("symbols", {}).items():
            found[symbol].append(counted)
    return {
        symbol: Totals(
            sum([each["count"] for each in counted]),
            sum([each["sum_ids"] for each in counted]),
            min([each["first_id"] for each in counted]),
            max([each["last_id"] for each in counted]),
        )
        for symbol, counted in found.items()
    }


def _corrupt(name: str, what: str) -> CorruptObject:
    return CorruptObject(
        f"{name}: {what}; nothing was written; restore the object's earlier version, or move it "
        "and its manifest away and have its ids repaired"
    )


def read_rows(found: RawObject, symbols: Symbols) -> Iterator[tuple[Rows, int]]:
    """Yield an object's trades piece by piece, and the number of lines of a piece that are none.

    Raises:
        CorruptObject: it is no zstd, or has another number of lines than its manifest says.
    """
    lines = 0
    try:
        for chunk in _chunks(found.data):
            rows, others = decode(chunk, symbols)
            lines += len(rows) + others
            yield rows, others
    except zstandard.ZstdError as error:
        raise _corrupt(found.name, str(error)) from None
    if lines != found.lines:
        raise _corrupt(found.name, f"it has {lines} lines, its manifest says {found.lines}")


def _chunks(data: bytes) -> Iterator[bytes]:
    """Yield whole lines without the frames' headers, `CHUNK_BYTES` or a frame more at a time."""
    waiting, size = [], 0
    for frame in _frames(data):
        start = frame.find(b"\n") + 1 if frame.startswith(_HEADER) else 0
        lines = frame[start:] if frame.endswith(b"\n") else frame[start:] + b"\n"
        waiting.append(lines)
        size += len(lines)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _frames(data: bytes) -> Iterator[bytes]:
    """Yield what each zstd frame holds, which is a frame of the collector.

    Raises:
        ZstdError: it is no zstd, or cut.
    """
    decompressor, view, start = zstandard.ZstdDecompressor(), memoryview(data), 0
    while start < len(view):
        frame, parts = decompressor.decompressobj(), []
        while not frame.eof:
            window = view[start : start + _WINDOW_BYTES]
            if not window:
                raise zstandard.ZstdError("its last frame is cut")
            parts.append(frame.decompress(window))
            start += len(window) - len(frame.unused_data)
        yield b"".join(parts)


def decode(lines: bytes, symbols: Symbols) -> tuple[Rows, int]:
    """Return the trades of some lines, and the number of lines that are none.

    Lines in Binance's own form are read all at once; where there is another one, each by itself.
    """
    if not lines:
        return from_columns(np.empty(0, np.int32), [pa.array([], t) for t in _EMPTY]), 0
    try:
        return _decode_all(lines, symbols), 0
    except (_Unusual, pa.ArrowException):
        return _decode_each(lines, symbols)


_EMPTY: Final = (pa.int64(), NUMERIC, NUMERIC, pa.int64(), pa.bool_())


def _decode_all(lines: bytes, symbols: Symbols) -> Rows:
    if b"\\" in lines:
        raise _Unusual  # an escape: Arrow would take it for itself
    table = pa.csv.read_csv(
        pa.BufferReader(lines.replace(b":", b",")), read_options=_READ, convert_options=_CONVERT
    ).combine_chunks()
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    for name in _KEYS:
        column, key = columns[name], name[:-1].encode()
        found = column.buffers()[1].slice(0, len(column) * len(key))
        if column.null_count or found.to_pybytes() != key * len(column):
            raise _Unusual
    values = [columns[name] for name in _TYPES if name not in _KEYS]
    if any(column.null_count for column in values):
        raise _Unusual
    names, ids, prices, quantities, times, sides = values
    microseconds = _microseconds(times.to_numpy())
    if pc.min(prices).as_py() <= 0 or pc.min(quantities).as_py() <= 0 or pc.min(ids).as_py() < 0:
        raise _Unusual
    return from_columns(symbols.codes(names), [ids, prices, quantities, microseconds, sides])


def _microseconds(times: Any) -> Any:
    if times.min() <= 0:
        raise _Unusual
    return np.where(times < _MICROSECONDS_FROM, times * 1000, times)


def _decode_each(lines: bytes, symbols: Symbols) -> tuple[Rows, int]:
    trades = []
    every = lines.split(b"\n")[:-1]
    for line in every:
        try:
            trades.append(_decode_one(line))
        except (ValueError, KeyError, TypeError, ArithmeticError):
            continue  # counted as no trade: its object is never removable
    names, *columns = zip(*trades, strict=True) if trades else ([],) * 6
    codes = np.array([symbols.code(name) for name in names], np.int32)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, _EMPTY, strict=True)]
    arrays[3] = arrays[3].to_numpy()
    return from_columns(codes, arrays), len(every) - len(trades)


def _decode_one(line: bytes) -> tuple[str, int, Decimal, Decimal, int, bool]:
    data = json.loads(line)["data"]
    trade_id, time, side = data["t"], data["T"], data["m"]
    price, quantity = (_positive(data[key]) for key in "pq")
    kinds = (type(trade_id), type(time), type(side), type(data["s"]), data["e"])
    if kinds != (int, int, bool, str, "trade") or not 0 <= trade_id < 2**63 or not 0 < time < 2**62:
        raise ValueError("no trade")
    time = time * 1000 if time < _MICROSECONDS_FROM else time
    return data["s"], trade_id, price, quantity, time, side


def _positive(text: str) -> Decimal:
    """Return a positive decimal that NUMERIC holds exactly; raises ValueError for another."""
    number = Decimal(text)
    sign, _, exponent = number.as_tuple()
    if not isinstance(exponent, int) or sign or number <= 0 or exponent < -9:
        raise ValueError(text)
    if number >= Decimal(10) ** 29 or not text.replace(".", "", 1).isdigit():
        raise ValueError(text)
    return number
