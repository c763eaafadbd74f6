"""Pub/Sub away for minutes at a steady rate: what waits on disk, how soon all of it is queryable.

The whole sandbox runs; its Pub/Sub refuses every call for the time. Then the market is paused, what
is under way arrives, and exchange and tables are compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from benchmarks.whole_sandbox import (
    drain,
    forget_auditor,
    platform_in,
    sandbox,
    settings_of,
    state_of,
)
from sandbox.bigquery.rest import query
from sandbox.probes import get, post_json
from sandbox.settings import HOST, Platform

RATE: Final = 5_000
_BEFORE_SECONDS: Final = 20.0
_LIMIT_SECONDS: Final = 600.0
_ANSWER_SECONDS: Final = 30.0
# What is under way in a second or two when nothing is wrong is no backlog.
_UNDER_WAY_SECONDS: Final = 2.0

_LOADED: Final = "select sum(loaded_rows) as trades from `{project}.ops.frames`"
_FOUND: Final = """
select sum(ids) as ids, sum(present) as present from (
  select count(distinct trade_id) as ids, count(*) as present
  from `{project}.raw.trades` group by market, symbol
)
"""


@dataclass(slots=True)
class _Watch:
    """Looks at the collector and the table every second.

    Attributes:
        spool_bytes: frames that wait on disk, at every look.
        resident_bytes: memory of the collector, at every look.
    """

    home: Path
    platform: Platform
    spool_bytes: list[int] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)

    def look(self) -> int:
        """Look once; return the number of trades that were received and are not in the table."""
        time.sleep(1)
        _, metrics = get(f"{self.platform.collector_url}/metrics", timeout=_ANSWER_SECONDS)
        waiting = re.search(rb"^collector_spool_bytes (\S+)", metrics, re.MULTILINE)
        self.spool_bytes.append(int(float(waiting[1])) if waiting else 0)
        self.resident_bytes.append(
            sum(s.resident_bytes for s in state_of(self.home).services if s.name == "collector")
        )
        return self.received() - self.ask(_LOADED)["trades"]

    def received(self) -> int:
        """Return how many trades the collector has made durable."""
        url = f"{self.platform.collector_url}/ledger"
        ledger = json.loads(get(url, timeout=_ANSWER_SECONDS)[1])
        return sum(each["count"] for each in ledger["symbols"] if each["channel"] == "trade")

    def job_seconds(self) -> dict[int, float]:
        """Return the CPU time of the job so far by process: it is another one after a restart."""
        (pid,) = (service.pid for service in state_of(self.home).services if service.name == "job")
        with contextlib.suppress(psutil.Error):
            if pid:
                return {pid: sum(psutil.Process(pid).cpu_times()[:2])}
        return {}

    def ask(self, sql: str) -> dict[str, int]:
        """Return the one row of whole numbers that a query has."""
        text = sql.replace("{project}", self.platform.project)
        (row,) = query(self.platform.bigquery_url, self.platform.project, text)
        return {name: int(value or 0) for name, value in row.items()}


def measure(seconds: int) -> list[dict[str, object]]:
    """Take Pub/Sub away for so many seconds at 5,000 trades/s.

    Returns:
        One row. Seconds count from the moment that it is back: `published_s` until nothing waits
        in the spool, `resumed_s` until the first rows are loaded, `caught_up_s` until the table
        lacks no more than what is always under way, with the job's CPU time for that.

    Raises:
        TimeoutError: it did not catch up within ten minutes.
    """
    with sandbox(
        *("--rate", str(RATE), "--channels", "trade", "--pubsub", "embedded", "--no-airflow")
    ) as environment:
        os.environ.update(environment)
        forget_auditor()
        home = Path(environment["SANDBOX_HOME"])
        watch = _Watch(home, platform_in(home))
        _look_for(watch, _BEFORE_SECONDS)
        before = max(watch.resident_bytes)
        received = watch.received()
        admin = settings_of(home).ports.pubsub_admin
        fault = {"kind": "unavailable", "target": "all", "seconds": seconds}
        status, body = post_json(f"http://{HOST}:{admin}/faults", fault)
        assert status < 300, body
        _look_for(watch, seconds)
        kept = watch.received() - received
        spooled = watch.spool_bytes[-1]
        caught_up = _catch_up(watch)
        return [
            {
                "away_s": seconds,
                "trades": kept,
                "per_second": kept / seconds,
                "spool_mib": max(watch.spool_bytes) / 2**20,
                "spool_bytes_a_trade": spooled / kept,
                "collector_mib_before": before / 2**20,
                "collector_mib_max": max(watch.resident_bytes) / 2**20,
                **caught_up,
                **_account(watch),
            }
        ]


def _look_for(watch: _Watch, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        watch.look()


def _catch_up(watch: _Watch) -> dict[str, float]:
    """Return the seconds until the spool was empty, until rows came, until the table had all."""
    began, cpu, first = time.monotonic(), watch.job_seconds(), watch.look()
    found: dict[str, float] = {}
    while (passed := time.monotonic() - began) < _LIMIT_SECONDS:
        backlog = watch.look()
        passed = time.monotonic() - began
        if watch.spool_bytes[-1] < max(watch.spool_bytes) / 100:
            found.setdefault("published_s", passed)
        is_caught_up = backlog <= RATE * _UNDER_WAY_SECONDS
        if backlog < first or is_caught_up:
            found.setdefault("resumed_s", passed)
        if "published_s" in found and is_caught_up:
            spent = sum(now - cpu.get(pid, 0.0) for pid, now in watch.job_seconds().items())
            return {**found, "caught_up_s": passed, "job_cpu_s": spent}
    raise TimeoutError(f"{backlog:,} trades were not loaded {passed:.0f} s after Pub/Sub was back")


def _account(watch: _Watch) -> dict[str, object]:
    """Pause the market, wait for what is under way, and compare what was sent with the table."""
    post_json(f"{watch.platform.exchange_url}/sim/pause", {})
    drain(watch.platform)
    url = f"{watch.platform.exchange_url}/sim/totals"
    totals = json.loads(get(url, timeout=_ANSWER_SECONDS)[1])
    found = watch.ask(_FOUND)
    state = state_of(watch.home)
    return {
        "lost": sum(each["count"] for each in totals["trades"]) - found["ids"],
        "repeated": found["present"] - found["ids"],
        "restarts": ", ".join(
            f"{service.name} {service.restarts}" for service in state.services if service.restarts
        ),
    }
