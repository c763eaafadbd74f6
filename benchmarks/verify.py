"""Verification: a day of compacted trades to one-minute candles, beside other engines."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.compact import measure_engines
from plugins.market_ops.archive.compact import parquet_writer
from plugins.market_ops.archive.rows import TIMESTAMP, Digits, schema_of

_SYMBOLS = 200
_DAY_US = 86_400_000_000
_START_US = 1_795_305_600_000_000  # 2026-11-22
_SCHEMA = schema_of(Digits((8, 2), (8, 5)))


def measure(trades: int) -> list[dict[str, object]]:
    """Reduce so many trades of a day, Zipf over 200 symbols."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_day(root / "warm", 10_000)
        _write_day(root / "full", trades)
        return measure_engines("candles", root)


def _write_day(folder: Path, trades: int) -> None:
    """Write a Parquet file a symbol, as compaction does with busy ones."""
    folder.mkdir()
    chance = np.random.default_rng(7)
    weights = 1 / np.arange(1, _SYMBOLS + 1) ** 1.05
    for number, share in enumerate(weights / weights.sum()):
        count = max(1, int(trades * share))
        times = np.sort(chance.integers(0, _DAY_US // 1000, count)) * 1000 + _START_US
        columns = [
            pa.repeat(f"SYM{number:03}USDT", count),
            pa.array(np.arange(count)),
            decimals(6_100_000 + chance.integers(-1, 2, count).cumsum(), 2),
            decimals(chance.integers(1, 100_000, count), 5),
            pa.array(chance.integers(0, 2, count) == 1),
            pa.array(times).cast(TIMESTAMP).cast(_SCHEMA.field("traded_at").type),
        ]
        with parquet_writer(folder / f"{number:03}.parquet", _SCHEMA) as writer:
            writer.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), 262_144)


def decimals(values: np.ndarray, scale: int) -> pa.Array:
    """Return integers as decimals with so many digits behind the point."""
    kind = pa.decimal64(18, scale)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])
