"""Collector: connections replaced under load, and what that loses (nothing) and costs.

`python -m benchmarks.rotation URL ROTATIONS` is the measured process: a whole collector whose
frames are counted instead of published. `measure` starts it beside a simulated exchange.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from typing import Any, Final

import aiohttp
import uvloop

from benchmarks.tools import exchange, peak_mib, run_json
from benchmarks.whole_collector import metrics_of, whole_collector
from market_data.channels import HOLE
from market_data.frames import Frame, split_lines

RATE: Final = 2_000
SYMBOLS: Final = 40
CONNECTIONS: Final = 4
_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.02


class _Auditor:
    """Keeps the account of what came."""

    def __init__(self) -> None:
        self.ids: dict[str, set[int]] = defaultdict(set)
        self.lines: Counter[str] = Counter()
        self.from_rest = 0

    def take(self, frame: Frame) -> None:
        header = frame.header
        self.lines[header.channel] += header.lines
        if header.channel == "trade":
            self.from_rest += header.lines * (header.source == "rest")
            for line in split_lines(frame.body):
                trade = json.loads(line)["data"]
                self.ids[trade["s"]].add(trade["t"])


async def _rotate(url: str, rotations: int) -> dict[str, object]:
    """Let a collector rotate so often, each of its connections at the same time."""
    auditor = _Auditor()
    streams = SYMBOLS // CONNECTIONS
    async with whole_collector(url, auditor.take, streams_per_connection=streams) as (client, own):
        await _until(client, own, "ok", 0)
        started, seconds = time.perf_counter(), []
        for number in range(1, rotations // CONNECTIONS + 1):
            begun = time.perf_counter()
            async with client.post(f"{url}/sim/shutdown-notice"):
                pass
            health = await _until(client, own, "ok", number)
            seconds.append(time.perf_counter() - begun)
        elapsed = time.perf_counter() - started
        async with client.post(f"{url}/sim/pause"):
            await asyncio.sleep(2)
        metrics = await metrics_of(client, own)
        async with client.get(f"{url}/sim/totals") as answer:
            sent = {each["symbol"]: each for each in (await answer.json())["trades"]}
    lost = sum(
        len(set(range(totals["first_id"], totals["last_id"] + 1)) - auditor.ids[symbol])
        for symbol, totals in sent.items()
    )
    trades = sum(map(len, auditor.ids.values()))
    dropped = sum(
        value for name, value in metrics.items() if name.startswith("collector_duplicate_messages")
    )
    states = health["connections"].values()
    return {
        "rotations": sum(state["rotations"] for state in states),
        "failures": sum(state["failures"] for state in states),
        "trades": trades,
        "per_second": trades / elapsed,
        "lost": lost,
        "holes": auditor.lines[HOLE] + health["holes"]["open"],
        "healed": auditor.from_rest,
        "repeats_dropped": dropped,
        "repeats_left": auditor.lines["trade"] - trades,
        "seconds_p50": statistics.median(seconds),
        "seconds_max": max(seconds),
        "peak_mb": peak_mib(),
    }


async def _until(
    client: aiohttp.ClientSession, own: str, status: str, rotations: int
) -> dict[str, Any]:
    """Wait until the collector is well and every connection was replaced so often."""
    async with asyncio.timeout(_SECONDS):
        while True:
            try:
                async with client.get(f"{own}/healthz") as answer:
                    health: dict[str, Any] = await answer.json()
            except aiohttp.ClientConnectionError:
                health = {"status": "away"}
            if health["status"] == status and all(
                state["rotations"] >= rotations for state in health["connections"].values()
            ):
                return health
            await asyncio.sleep(_LOOK_SECONDS)


def measure(rotations: int) -> list[dict[str, object]]:
    """Measure `rotations` rotations over four connections at 2,000 trades/s."""
    arguments = ["--rate", str(RATE), "--symbols", str(SYMBOLS), "--history", "60"]
    with exchange(*arguments, "--limit", "connections_per_window=off", core=1) as url:
        return [run_json(["-m", "benchmarks.rotation", url, str(rotations)], core=0)]


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_rotate(sys.argv[1], int(sys.argv[2])))))
