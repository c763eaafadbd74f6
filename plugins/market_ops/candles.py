"""Candles: a second way from trades to candles, outside the warehouse and exact.

Trades come as compacted Parquet has them: sorted by symbol and trade id. Each batch is cut where
symbol or minute change and reduced with integers; what does not fit 64 bits takes a slower way,
in which a trade is a candle of its own. Both give candles that merge into coarser ones.

Rules (Binance's klines, reproduced from recorded trades): open and close are by smallest and
largest trade id, never by time; the quote quantity of a trade is price x quantity truncated to 8
decimals.
Candles without trades are not made: nothing here knows whether a minute was quiet or is missing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .archive.compact import Hour, manifest_of
from .archive.storage import Store

INTERVALS: Final = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}
MINUTE_US: Final = 60_000_000
NUMERIC: Final = pa.decimal128(38, 9)
TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
SCHEMA: Final = pa.schema(
    [("symbol", pa.string()), ("opened_at", TIMESTAMP)]
    + [(name, NUMERIC) for name in ("open", "high", "low", "close", "volume", "quote_volume")]
    + [("trades", pa.int64()), ("taker_buy_volume", NUMERIC), ("taker_buy_quote_volume", NUMERIC)]
    + [("first_trade_id", pa.int64()), ("last_trade_id", pa.int64())]
)
_AGGREGATES: Final = {
    "high": "max",
    "low": "min",
    "volume": "sum",
    "quote_volume": "sum",
    "trades": "sum",
    "taker_buy_volume": "sum",
    "taker_buy_quote_volume": "sum",
    "first_trade_id": "min",
    "last_trade_id": "max",
}
_QUOTE_DECIMALS: Final = 8
_NUMERIC_SCALE: Final = 9
_STEPS: Final = 10**_QUOTE_DECIMALS
_LIMIT: Final = 2.0**62
# Few enough that the columns of a batch stay in a core's cache.
_BATCH_ROWS: Final = 131_072

Integers = npt.NDArray[np.int64]


def candles_of_files(paths: Iterable[Path], interval: str = "1m") -> pa.Table:
    """Return the candles of some compacted Parquet files, ordered by symbol and time.

    Args:
        paths: files; together they hold each trade once.
        interval: one of `INTERVALS`.

    Raises:
        KeyError: another interval.
    """
    return candles(_batches(paths), interval)


def candles_of_day(store: Store, market: str, day: date, interval: str = "1m") -> pa.Table:
    """Return the candles of a UTC day from the compacted archive.

    Args:
        store: the archive's bucket.
        market: market of the exchange, "spot".
        day: day of trading.
        interval: one of `INTERVALS`.

    Raises:
        KeyError: another interval.
        FileNotFoundError: an object that a manifest names is gone.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    hours = [Hour(market, start + timedelta(hours=number)) for number in range(24)]
    objects = [entry for hour in hours for entry in manifest_of(store, hour)["objects"]]
    with tempfile.TemporaryDirectory() as folder:
        return candles_of_files(_downloaded(store, objects, Path(folder)), interval)


def _downloaded(store: Store, objects: list[dict[str, Any]], folder: Path) -> Iterator[Path]:
    """Yield each object as a file, which is gone when the next is asked for."""
    for entry in objects:
        path = folder / "trades.parquet"
        store.download(entry["object"], path)
        yield path


def candles(batches: Iterable[pa.RecordBatch], interval: str = "1m") -> pa.Table:
    """Return the candles of batches of trades; each batch is sorted by symbol and trade id."""
    parts = [candles_of_batch(batch) for batch in batches if batch.num_rows]
    return coarser(pa.concat_tables([SCHEMA.empty_table(), *parts]), interval)


def coarser(finer: pa.Table, interval: str) -> pa.Table:
    """Merge candles into those of an interval; several of one minute may be parts of it."""
    length = INTERVALS[interval] * MINUTE_US
    starts = finer["opened_at"].cast(pa.int64()).to_numpy() // length * length
    place = finer.schema.get_field_index("opened_at")
    table = finer.set_column(place, "opened_at", pa.array(starts).cast(TIMESTAMP)).combine_chunks()
    keys = _keys(table)
    order = np.argsort(keys, kind="stable")
    keys, table = keys[order], table.take(pa.array(order))
    is_next = np.append(False, keys[1:] == keys[:-1])
    is_shared = is_next | np.append(is_next[1:], False)[: len(keys)]
    if not is_shared.any():
        return table
    shared = pa.array(is_shared)
    merged = _merge(table.filter(shared), keys[is_shared])
    found = pa.concat_tables([table.filter(pc.invert(shared)), merged]).combine_chunks()
    return found.take(pa.array(np.argsort(_keys(found), kind="stable")))


def _keys(table: pa.Table) -> Integers:
    """Return integers that order candles as symbol and opening time do."""
    symbols = pc.dictionary_encode(table["symbol"].combine_chunks())
    names = symbols.dictionary.to_pylist()
    rank = {name: number for number, name in enumerate(sorted(names))}
    ranks = np.array([rank[name] for name in names], np.int64)
    minutes = table["opened_at"].cast(pa.int64()).to_numpy() // MINUTE_US
    keys: Integers = (ranks[symbols.indices.to_numpy()] << 32) + minutes
    return keys


def _merge(table: pa.Table, keys: Integers) -> pa.Table:
    """Merge neighbours that share a key."""
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    ends = np.append(starts[1:], len(keys)) - 1
    by_first, by_last = (
        np.lexsort((table[name].to_numpy(), keys)) for name in ("first_trade_id", "last_trade_id")
    )
    table = table.append_column("key", pa.array(keys))
    grouped = table.group_by("key", use_threads=False).aggregate(list(_AGGREGATES.items()))
    grouped = grouped.rename_columns(["key", *_AGGREGATES]).sort_by("key")
    for name in ("symbol", "opened_at"):
        grouped = grouped.append_column(name, table[name].take(pa.array(starts)))
    grouped = grouped.append_column("open", table["open"].take(pa.array(by_first[starts])))
    grouped = grouped.append_column("close", table["close"].take(pa.array(by_last[ends])))
    return grouped.select(SCHEMA.names).cast(SCHEMA)


def _batches(paths: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path, read_dictionary=["symbol"]) as file:
            yield from file.iter_batches(_BATCH_ROWS, use_threads=False)


def candles_of_batch(batch: pa.RecordBatch) -> pa.Table:
    """Return the one-minute candles of a batch; a minute may come more than once."""
    try:
        return _fast(batch)
    except _TooLarge:
        return _slow(batch)


class _TooLarge(Exception):
    """A number of the batch may leave 64 bits."""


def _fast(batch: pa.RecordBatch) -> pa.Table:
    symbols = batch["symbol"]
    if not pa.types.is_dictionary(symbols.type):
        symbols = symbols.dictionary_encode()
    codes = symbols.indices.to_numpy()
    ids = batch["trade_id"].to_numpy()
    times = batch["traded_at"]
    per_minute = MINUTE_US // (1000 if times.type.unit == "ms" else 1)
    minutes = times.cast(pa.int64()).to_numpy() // per_minute
    prices, price_scale = _integers(batch["price"])
    quantities, quantity_scale = _integers(batch["quantity"])
    starts = np.append(
        0, np.flatnonzero((codes[1:] != codes[:-1]) | (minutes[1:] != minutes[:-1])) + 1
    )
    counts = np.diff(np.append(starts, len(codes)))
    high, most = np.maximum.reduceat(prices, starts), np.maximum.reduceat(quantities, starts)
    quotes = _quotes(prices, price_scale, quantities, quantity_scale, (high, most))
    _check_sums(most, counts)
    _check_sums(np.maximum.reduceat(quotes, starts), counts)
    is_buy = ~batch["is_buyer_maker"].to_numpy(zero_copy_only=False)
    sums = [
        np.add.reduceat(column, starts)
        for column in (quantities, quotes, quantities * is_buy, quotes * is_buy)
    ]
    ends = starts + counts - 1
    scales = (quantity_scale, _QUOTE_DECIMALS) * 2
    volume, quote_volume, buy_volume, buy_quote_volume = map(_numeric, sums, scales)
    columns = [
        symbols.take(pa.array(starts)).cast(pa.string()),
        pa.array(minutes[starts] * MINUTE_US).cast(TIMESTAMP),
        *(
            _numeric(column, price_scale)
            for column in (
                prices[starts],
                high,
                np.minimum.reduceat(prices, starts),
                prices[ends],
            )
        ),
        *(volume, quote_volume, pa.array(counts), buy_volume, buy_quote_volume),
        *(pa.array(ids[starts]), pa.array(ids[ends])),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _slow(batch: pa.RecordBatch) -> pa.Table:
    """Merge the trades as candles of their own, in Arrow's decimals."""
    price, quantity = (batch[name].cast(NUMERIC) for name in ("price", "quantity"))
    wide = [column.cast(pa.decimal256(37, 9)) for column in (price, quantity)]
    product = pc.round(pc.multiply(*wide), _QUOTE_DECIMALS, "towards_zero").cast(NUMERIC)
    zero = pa.scalar(0, NUMERIC)
    maker, ids = batch["is_buyer_maker"], batch["trade_id"]
    columns = [
        batch["symbol"].cast(pa.string()),
        batch["traded_at"],
        *(price, price, price, price, quantity, product, pa.array(np.ones(len(ids), np.int64))),
        *(pc.if_else(maker, zero, column) for column in (quantity, product)),
        *(ids, ids),
    ]
    return coarser(pa.Table.from_arrays(columns, schema=SCHEMA), "1m")


def _integers(column: pa.Array) -> tuple[Integers, int]:
    """Return a column's values in its smallest step, and the decimals of the step."""
    scale, width = column.type.scale, column.type.bit_width // 64
    words = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, width)
    words = words[column.offset : column.offset + len(column)]
    values = np.ascontiguousarray(words[:, 0])
    if (words[:, 1:] != 0).any() or values.min() < 0:
        raise _TooLarge
    if scale > _QUOTE_DECIMALS:
        step = 10 ** (scale - _QUOTE_DECIMALS)
        if (values % step).any():
            raise _TooLarge
        return values // step, _QUOTE_DECIMALS
    return values, scale


def _quotes(
    prices: Integers,
    price_scale: int,
    quantities: Integers,
    quantity_scale: int,
    maxima: tuple[Integers, Integers],
) -> Integers:
    """Return price x quantity truncated to 8 decimals, in units of 1e-8.

    Args:
        prices: in steps of `price_scale` decimals.
        price_scale: decimals of the prices, up to 8.
        quantities: in steps of `quantity_scale` decimals.
        quantity_scale: decimals of the quantities, up to 8.
        maxima: largest prices and largest quantities of the candles.

    Raises:
        _TooLarge: a product may leave 64 bits.
    """
    scale = price_scale + quantity_scale - _QUOTE_DECIMALS
    # A guard may be rough: it is made of floats, and leaves a bit.
    high, most = (column.astype(np.float64) for column in maxima)
    if (high * most).max() * 10.0 ** max(0, -scale) < _LIMIT:
        products: Integers = prices * quantities * 10 ** max(0, -scale)
        products //= 10 ** max(0, scale)
        return products
    up, across = 10 ** (_QUOTE_DECIMALS - price_scale), 10 ** (_QUOTE_DECIMALS - quantity_scale)
    most *= across
    high *= up
    if max(high.max(), most.max(), (high * most).max() / _STEPS) >= _LIMIT:
        raise _TooLarge
    # Integer and fraction apart, so that no product is larger than the result:
    # (P + p)(Q + q) with P, Q whole; only p q is truncated.
    whole, part = np.divmod(prices * up, _STEPS)
    quantities = quantities * across
    whole_quantities, part_quantities = np.divmod(quantities, _STEPS)
    quotes: Integers = whole * quantities + part * whole_quantities
    quotes += part * part_quantities // _STEPS
    return quotes


def _check_sums(largest: Integers, counts: Integers) -> None:
    if (largest.astype(np.float64) * counts).max() >= _LIMIT:
        raise _TooLarge


def _numeric(values: Integers, scale: int) -> pa.Array:
    """Return integers in steps of `scale` decimals as NUMERIC."""
    words: Any = np.zeros((len(values), 2), np.int64)
    words[:, 0] = values
    kind = pa.decimal128(38 - _NUMERIC_SCALE + scale, scale)
    array = pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(words)])
    return array.cast(NUMERIC)
