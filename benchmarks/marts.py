"""dbt over ten days of history: a full run, and incremental ones after 1 % of new rows.

The limits: an incremental run takes at most a tenth of the full one (`of_full`), and at most 1.3
times as long as the same news after a tenth of the history, which is one day (`of_a_tenth`).

Each history has a BigQuery of its own. The news comes in order first; then a hundredth of it is
late, spread over the whole day before, so that most of that day's candles are made again. After
each run the candles must hold every trade and equal the official ones. dbt has started and read the
project before (`sandbox.dbt_host`); seconds of models include waiting for each other, because the
emulator runs one query at a time.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from beam_jobs.frames import DecodedFrame
from beam_jobs.load import ledger_by_table, rows_by_table
from beam_jobs.storage_write import StorageWriter
from benchmarks.history import Frames, Market, aggregates, klines, minutes
from market_data.layouts import AGG_TRADE, KLINE, TRADE
from plugins.market_ops.candles import INTERVALS
from sandbox.marts import Marts
from sandbox.process import spawn, stop
from sandbox.provision import provision_bigquery
from sandbox.services import build_services
from sandbox.settings import PROJECT, ROOT, Ports, Settings, platform_of, read_settings
from sandbox.supervisor import Service
from sandbox.warehouse import Warehouse

_DAYS = 10
_DAY = timedelta(days=1)
_NEWS = _DAY / 10  # 1 % of ten days
_ROUNDS = 3  # of news in order, then of news with late trades; the median of each counts
_LATE_SHARE = 0.01
_START_SECONDS = 60
_SAMPLE_SECONDS = 0.1
_SLOWEST = 5
_MODEL_DONE = re.compile(r" model \w+\.(\w+) \.+ \[.* in ([\d.]+)s\]")
_RUN = f"bench-{os.getpid()}"

_RECONCILED = """
select count(*) as candles, countif(not is_equal) as unequal,
  countif(not is_equal and is_covered) as unequal_though_covered
from `{project}.marts.kline_reconciliation`
"""


@dataclass(frozen=True)
class Run:
    """What one `dbt run` took.

    Attributes:
        seconds: from start to end of the process.
        cpu_seconds: of dbt and BigQuery together.
        dbt_mb: peak resident memory of dbt, in MiB.
        bigquery_mb: peak resident memory of BigQuery meanwhile, in MiB.
        models: seconds of each model.
    """

    seconds: float
    cpu_seconds: float
    dbt_mb: float
    bigquery_mb: float
    models: dict[str, float]

    @property
    def row(self) -> dict[str, object]:
        """The row of the table."""
        slowest = sorted(self.models.items(), key=lambda model: -model[1])[:_SLOWEST]
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "dbt_mb": self.dbt_mb,
            "bigquery_mb": self.bigquery_mb,
            "slowest": "\n".join(f"{seconds:.1f} {name}" for name, seconds in slowest),
        }


def measure(trades: int) -> list[dict[str, object]]:
    """Measure a history of so many trades over 50 symbols, and its last tenth alone."""
    rows: list[dict[str, object]] = []
    seconds: dict[str, float] = {}
    for days in (1, _DAYS):
        full, *news = run_history(days, trades // _DAYS)
        runs = {
            "full": full,
            "incremental": _middle(news[:_ROUNDS]),
            "incremental, late": _middle(news[_ROUNDS:]),
        }
        for name, run in runs.items():
            tenth = seconds.setdefault(name, run.seconds)
            shares = {
                "of_full": run.seconds / full.seconds if run is not full else "",
                "of_a_tenth": run.seconds / tenth if run is not full and days > 1 else "",
            }
            rows.append({"run": name, "trades": days * trades // _DAYS, **shares, **run.row})
    return rows


def _middle(runs: list[Run]) -> Run:
    return sorted(runs, key=lambda run: run.seconds)[(len(runs) - 1) // 2]


def run_history(days: int, trades_a_day: int) -> Iterator[Run]:
    """Yield the full run over days of history, then the incremental ones after more news."""
    market, frames, candles = Market(), Frames(), []
    news = trades_a_day // 10
    late_news = int(news * _LATE_SHARE)
    start = _start(days)
    end = start + days * _DAY
    with bigquery() as service, contextlib.closing(StorageWriter(PROJECT)) as writer:
        for day in range(days):
            trades = market.trades(start + day * _DAY, _DAY, trades_a_day)
            candles.append(minutes(trades))
            trades, late = _set_aside(trades, late_news * _ROUNDS if day == days - 1 else 0)
            _load_trades(writer, frames, trades)
        _load(writer, frames.cut(klines(pa.concat_tables(candles), start, end), KLINE))
        service.dbt("parse")
        yield service.dbt("run")
        loaded = days * trades_a_day - len(late)
        service.check(loaded, len(late))
        for late_now in [0] * _ROUNDS + [late_news] * _ROUNDS:
            since, end = end, end + _NEWS
            trades = market.trades(since, _NEWS, news - late_now)
            candles.append(minutes(trades))
            now = datetime.now(UTC)
            _load_trades(writer, frames, trades, now)
            if late_now:
                _load_trades(writer, frames, late[:late_now], now)
            _load(writer, frames.cut(klines(pa.concat_tables(candles), since, end), KLINE, now))
            loaded, late = loaded + news, late[late_now:]
            yield service.dbt("run")
            service.check(loaded, len(late))


def _start(days: int) -> datetime:
    """Return the midnight at which the history begins, so that all its news are of the past."""
    last = datetime.now(UTC) - 2 * _ROUNDS * _NEWS
    return last.replace(hour=0, minute=0, second=0, microsecond=0) - days * _DAY


def _set_aside(trades: pa.Table, count: int) -> tuple[pa.Table, pa.Table]:
    """Take some trades out; return the rest, and them in random order."""
    places = np.random.default_rng(7).choice(len(trades), count, replace=False)
    is_early = np.ones(len(trades), bool)
    is_early[places] = False
    return trades.filter(pa.array(is_early)), trades.take(pa.array(places))


def _load_trades(
    writer: StorageWriter, frames: Frames, trades: pa.Table, loaded_at: datetime | None = None
) -> None:
    _load(writer, frames.cut(trades, TRADE, loaded_at))
    _load(writer, frames.cut(aggregates(trades), AGG_TRADE, loaded_at))


def _load(writer: StorageWriter, frames: Iterable[DecodedFrame]) -> None:
    """Append frames and their ledger."""
    frames = list(frames)
    writer.append(rows_by_table(frames))
    ledgers = [ledger_by_table([frame], frame.entry.loaded_at) for frame in frames]
    tables = {table for ledger in ledgers for table in ledger}
    writer.append(
        {table: [batch for ledger in ledgers for batch in ledger[table]] for table in tables}
    )


class BigQuery:
    """A BigQuery, and dbt over it.

    Args:
        settings: where it is.
        pid: its process.
    """

    def __init__(self, settings: Settings, pid: int) -> None:
        self._settings = settings
        self._process = psutil.Process(pid)
        self._peak = 0
        platform = platform_of(
            settings, started_at=datetime.now(UTC), ready_seconds=0.0, peak_memory=dict
        )
        self._marts = Marts(settings, platform, _RUN)

    def dbt(self, command: str) -> Run:
        """Run dbt.

        Raises:
            RuntimeError: it failed; the text has what it printed.
        """
        marts = self._marts
        self._peak, marts.peak_resident_bytes, cpu = 0, 0, self._cpu_seconds()
        marts.start(command)
        if not marts.wait(self._sample):
            raise RuntimeError(f"dbt {command} failed:\n{marts.log.read_text('utf-8')[-4000:]}")
        return Run(
            seconds=marts.seconds,
            cpu_seconds=self._cpu_seconds() - cpu,
            dbt_mb=marts.peak_resident_bytes / 2**20,
            bigquery_mb=self._peak / 2**20,
            models=_seconds_by_model(marts.log.read_text("utf-8")),
        )

    def close(self) -> None:
        """End dbt."""
        self._marts.close()

    def check(self, trades: int, late: int) -> None:
        """Compare the marts with so many loaded trades, of which so many more are still to come.

        Raises:
            RuntimeError: candles have not every trade, or differ from the official ones though no
                trade is missing.
        """
        with Warehouse(PROJECT, self._settings.bigquery_url) as warehouse:
            for interval in INTERVALS:
                sql = f"select sum(trades) as trades from `{{project}}.marts.ohlcv_{interval}`"  # noqa: S608
                found = int(warehouse.rows(sql)[0]["trades"])
                if found != trades:
                    raise RuntimeError(f"ohlcv_{interval}: has {found} of {trades} trades")
            (row,) = warehouse.rows(_RECONCILED)
        if not row["candles"] or row["unequal_though_covered"] or (row["unequal"] and not late):
            raise RuntimeError(f"kline_reconciliation: {row} while {late} trades are late")

    def _sample(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)
        time.sleep(_SAMPLE_SECONDS)

    def _cpu_seconds(self) -> float:
        """Return what BigQuery and dbt took so far."""
        service = self._process.cpu_times()
        return float(service.user + service.system + self._marts.cpu_seconds)


def _seconds_by_model(log: str) -> dict[str, float]:
    return {name: float(seconds) for name, seconds in _MODEL_DONE.findall(log)}


@contextlib.contextmanager
def bigquery(*others: str) -> Iterator[BigQuery]:
    """Run a BigQuery with our tables, as the sandbox does, on free ports.

    Args:
        others: names of services that start before it.
    """
    with tempfile.TemporaryDirectory() as home:
        settings = replace(read_settings(os.environ), home=Path(home), ports=Ports.free())
        os.environ.update(settings.client_environment)
        (settings.home / "logs").mkdir()
        services = {each.name: each for each in build_services(settings, os.environ)}
        with contextlib.ExitStack() as stack:
            for name in (*others, "bigquery"):
                process = stack.enter_context(_running(services[name], settings))
            provision_bigquery(settings.bigquery_url)
            yield stack.enter_context(contextlib.closing(BigQuery(settings, process.pid)))


@contextlib.contextmanager
def _running(service: Service, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    log = settings.home / "logs" / f"{service.name}.log"
    with log.open("wb") as output:
        process = spawn(
            service.command,
            run_id=_RUN,
            environment=service.environment,
            directory=ROOT,
            output=output,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while service.probe and (reason := service.probe()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{reason}\n{log.read_text('utf-8')[-4000:]}")
            time.sleep(_SAMPLE_SECONDS)
        yield process
    finally:
        stop(process, service.grace_seconds)
