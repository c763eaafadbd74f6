"""A day of one symbol from the archive's files to the marts: rows a second, and where time goes.

The archive is an HTTP server with the zips and CHECKSUMs of a made-up day; `backfill_history`'s own
function downloads, checks and loads it through a bucket into the raw tables, then `dbt run` builds
the marts from nothing. Steps are what a profile of that function says; `dbt parse` goes before, as
a sandbox that runs has its manifest. The candles must hold every trade and equal the official ones.
"""

from __future__ import annotations

import contextlib
import cProfile
import hashlib
import pstats
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage

from benchmarks import marts
from benchmarks.history import Market, klines, minutes
from plugins.market_ops.backfill.run import load_day
from plugins.market_ops.backfill.vision import DailyFile
from sandbox.probes import free_ports
from sandbox.settings import BUCKET, HOST, PROJECT

_DAY = timedelta(days=1)
_KINDS = ["trades", "klines"]
_START_SECONDS = 10
# Functions of plugins/market_ops/backfill, by file and name; what is nested is taken off below.
_STEPS = {
    "download, CHECKSUM": ("vision.py", "download"),
    "unpack, parse, check values": ("rows.py", "batches"),
    "compute, add up minutes": ("stage.py", "_counted"),
    "compare with klines": ("minutes.py", "check"),
    "write Parquet": ("stage.py", "_write"),
    "upload to the bucket": ("blob.py", "upload_from_filename"),
    "load staging table": ("load.py", "_stage"),
    "compare control totals": ("load.py", "_compare"),
    "swap in": ("load.py", "_swap"),
    "enter into the ledger": ("load.py", "_enter"),
}
# A generator's time is part of the time of the one that reads it.
_NESTED = {
    "compute, add up minutes": "unpack, parse, check values",
    "write Parquet": "compute, add up minutes",
}


def measure(trades: int) -> list[dict[str, object]]:
    """Measure a day of so many trades."""
    with tempfile.TemporaryDirectory() as name, marts.bigquery("gcs") as service:
        folder = Path(name)
        symbol, start = write_archive(folder, trades)
        client = bigquery.Client(PROJECT, credentials=AnonymousCredentials())
        bucket = storage.Client(PROJECT, credentials=AnonymousCredentials()).create_bucket(BUCKET)
        asked = {"symbol": symbol, "day": start.date().isoformat(), "kinds": _KINDS}
        service.dbt("parse")
        with _served(folder) as url:
            seconds, steps = _profiled(lambda: load_day(client, bucket, url, asked, 0))
        run = service.dbt("run")
        service.check(trades, 0)
    total = seconds + run.seconds
    rows = [
        ("all", total),
        ("raw tables", seconds),
        *steps.items(),
        ("marts, dbt run", run.seconds),
    ]
    return [
        {
            "step": step,
            "seconds": taken,
            "percent": 100 * taken / total,
            "trades_a_second": trades / taken if taken else "",
        }
        for step, taken in rows
    ]


def write_archive(folder: Path, count: int) -> tuple[str, datetime]:
    """Write a day's files as data.binance.vision has them; return symbol and midnight."""
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 2 * _DAY
    trades = Market(symbols=1).trades(start, _DAY, count)
    symbol, is_best = trades["symbol"][0].as_py(), pa.repeat(True, count)
    names = ("trade_id", "price", "quantity", "quote_quantity")
    columns = [trades[name] for name in names]
    columns += [_microseconds(trades["traded_at"]), trades["is_buyer_maker"], is_best]
    _write(folder, DailyFile("trades", symbol, start.date()), columns)
    found = klines(minutes(trades), start, start + _DAY)
    found = found.filter(pc.equal(found["kline_interval"], "1m"))
    # A candle's end is given in µs: its last one.
    closed_at = pc.add(_microseconds(found["opened_at"]), 60_000_000 - 1)
    columns = [
        _microseconds(found["opened_at"]),
        *(found[name] for name in ("open", "high", "low", "close", "volume")),
        closed_at,
        *(found[name] for name in ("quote_volume", "trades")),
        *(found[name] for name in ("taker_buy_volume", "taker_buy_quote_volume")),
        pa.repeat(0, len(found)),
    ]
    _write(folder, DailyFile("klines", symbol, start.date(), "1m"), columns)
    return symbol, start


def _microseconds(times: Any) -> Any:
    return times.cast(pa.int64())


def _write(folder: Path, file: DailyFile, columns: list[Any]) -> None:
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    csv = pa.BufferOutputStream()
    options = pyarrow.csv.WriteOptions(include_header=False)
    table = pa.table(columns, names=[str(number) for number in range(len(columns))])
    pyarrow.csv.write_csv(table, csv, options)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{file.name}.csv", csv.getvalue().to_pybytes())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    Path(f"{path}.CHECKSUM").write_text(f"{digest}  {path.name}\n")


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder by HTTP from a process of its own; yield its address."""
    (port,) = free_ports(HOST, 1)
    command = [sys.executable, "-m", "http.server", str(port), "--bind", HOST]
    process = subprocess.Popen(
        [*command, "--directory", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url, deadline = f"http://{HOST}:{port}", time.monotonic() + _START_SECONDS
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url)
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url}: no answer within {_START_SECONDS} s")
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _profiled(run: Callable[[], object]) -> tuple[float, dict[str, float]]:
    """Return how long a call took, and its steps; what is in none of them is the rest."""
    profile, began = cProfile.Profile(), time.perf_counter()
    profile.runcall(run)
    seconds = time.perf_counter() - began
    known: Any = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    taken = {
        (Path(file).name, name): cumulative
        for (file, _, name), (_, _, _, cumulative, _) in known.items()
    }
    inclusive = {step: taken.get(place, 0.0) for step, place in _STEPS.items()}
    steps = {
        step: total - (inclusive[_NESTED[step]] if step in _NESTED else 0.0)
        for step, total in inclusive.items()
    }
    return seconds, steps | {"rest": seconds - sum(steps.values())}
