"""Recorded BTC trades: small once compacted, and Binance's own candle in all nine fields."""

import csv
import gzip
import json
import zlib
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, Decimal
from pathlib import Path

import pyarrow.compute as pc
import pytest

from plugins.market_ops.archive.compact import Hour, compact_hour, manifest_of
from plugins.market_ops.archive.storage import FolderStore
from plugins.market_ops.candles import candles_of_day
from tests.plugins.samples import put

HOUR = Hour("spot", datetime(2024, 8, 8, 23, tzinfo=UTC))


@pytest.fixture
def store(recorded: Path, tmp_path: Path) -> FolderStore:
    lines = []
    with gzip.open(recorded / "ws" / "btcusdt_20240808.spot.gz") as file:
        for text in file:
            received_at, _, message = text.strip().partition(b" ")
            if message.startswith(b'{"stream":"btcusdt@trade"'):
                lines.append(b'{"received_at":%d,%s' % (int(received_at) // 1000, message[1:]))
    store = FolderStore(tmp_path)
    put(store, "a", *(lines[start : start + 500] for start in range(0, len(lines), 500)), hour=HOUR)
    compact_hour(store, HOUR)
    return store


def test_bytes_a_trade(store: FolderStore) -> None:
    manifests = [manifest_of(store, HOUR), manifest_of(store, HOUR.at(478_656))]
    assert sum(manifest["trades"] for manifest in manifests) == 9_757
    assert manifests[0]["objects"][0]["bytes"] / manifests[0]["trades"] < 2.91


def test_a_third_of_binances_own_daily_zip(recorded: Path, tmp_path: Path) -> None:
    """Two symbols, 24,272 trades; the zip has columns that we compute or that say nothing."""
    store, lines, columns = FolderStore(tmp_path), [], defaultdict[str, list[str]](list)
    for name in ("btcusdt_20240808", "ethusdt_20240808", "ethusdt_20240809"):
        with gzip.open(recorded / "ws" / f"{name}.spot.gz") as file:
            trades = [text.strip().partition(b" ")[2] for text in file if b'@trade"' in text[:60]]
        lines += [b'{"received_at":1,' + message[1:] for message in trades]
        for data in (json.loads(message)["data"] for message in trades):
            quote = (Decimal(data["p"]) * Decimal(data["q"])).quantize(Decimal("1e-8"), ROUND_DOWN)
            values = (data["t"], data["p"], data["q"], quote, data["T"], data["m"], True)
            columns[data["s"]].append(",".join(map(str, values)))
    put(store, "a", *(lines[start : start + 500] for start in range(0, len(lines), 500)), hour=HOUR)
    compact_hour(store, HOUR)
    ours = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    zipped = sum(len(zlib.compress("\n".join(rows).encode(), 6)) for rows in columns.values())
    assert ours < zipped / 3


def test_official_candle(store: FolderStore, recorded: Path) -> None:
    with (recorded / "klines" / "BTCUSDT-5m-2024-08-08.csv").open() as file:
        official = {int(row[0]): row for row in csv.reader(file)}
    found = candles_of_day(store, "spot", date(2024, 8, 8), "5m")
    (candle,) = found.filter(pc.equal(found["trades"], 8_863)).to_pylist()
    row = official[int(candle["opened_at"].timestamp() * 1000)]
    ours = [candle[name] for name in ("open", "high", "low", "close", "volume", "quote_volume")]
    assert ours == [Decimal(row[place]) for place in (1, 2, 3, 4, 5, 7)]
    assert candle["trades"] == int(row[8])
    assert candle["taker_buy_volume"] == Decimal(row[9])
    assert candle["taker_buy_quote_volume"] == Decimal(row[10])
