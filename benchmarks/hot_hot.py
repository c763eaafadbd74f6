"""What a second collector on the same symbols costs: CPU, bytes published, rows loaded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import psutil

from benchmarks.whole_sandbox import sandbox, state_of
from sandbox.bigquery.rest import query
from sandbox.settings import PROJECT

RATE: Final = 1_000
_WARM_SECONDS: Final = 10.0
_PROCESSES: Final = ("collector", "collector-2", "job")
_LOADED: Final = """
select count(distinct concat(symbol, '/', trade_id)) as trades, count(*) as present
from `{project}.raw.trades`
"""
_FRAMES: Final = """
select sum(message_bytes) as bytes
from `{project}.ops.frames` where channel = 'trade'
"""


def measure(seconds: int) -> list[dict[str, object]]:
    """Run the sandbox at 1,000 trades/s so long with one collector, then with two.

    Returns:
        A row for each: CPU of a core by process, bytes published and rows loaded a trade.
    """
    return [_measure(seconds, collectors) for collectors in (1, 2)]


def _measure(seconds: int, collectors: int) -> dict[str, object]:
    with sandbox(
        *("--rate", str(RATE), "--channels", "trade", "--no-airflow"),
        *("--collectors", str(collectors)),
    ) as environment:
        home, bigquery = Path(environment["SANDBOX_HOME"]), environment["BIGQUERY_EMULATOR_HOST"]
        time.sleep(_WARM_SECONDS)
        before, began = _cpu_seconds(home), time.monotonic()
        time.sleep(seconds)
        passed, after = time.monotonic() - began, _cpu_seconds(home)
        (found,) = query(bigquery, PROJECT, _LOADED.replace("{project}", PROJECT))
        (frames,) = query(bigquery, PROJECT, _FRAMES.replace("{project}", PROJECT))
    trades = int(found["trades"] or 0)
    return {
        "collectors": collectors,
        "trades": trades,
        **{
            f"{name}_cpu_percent": 100 * (after[name] - before[name]) / passed
            if name in after
            else ""
            for name in _PROCESSES
        },
        "published_bytes_a_trade": int(frames["bytes"] or 0) / trades,
        "rows_a_trade": int(found["present"] or 0) / trades,
    }


def _cpu_seconds(home: Path) -> dict[str, float]:
    """Return the CPU time that processes have taken so far, in seconds of one core."""
    processes = {
        service.name: psutil.Process(service.pid)
        for service in state_of(home).services
        if service.pid and service.name in _PROCESSES
    }
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
