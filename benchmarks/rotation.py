"""Collector: connections replaced under load, and what that loses (nothing) and costs.

`python -m benchmarks.rotation URL ROTATIONS` is the measured process: a whole collector whose
frames are counted instead of published. `measure` starts it beside a simulated exchange.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop

from benchmarks.tools import exchange, run_json
from collector.service import Service
from collector.settings import Settings
from collector.spool import SpooledFrame
from market_data.channels import HOLE
from market_data.frames import decode_frame, split_lines
from market_data.memory import keep_freed_memory
from sandbox.probes import free_ports

RATE: Final = 2_000
SYMBOLS: Final = 40
CONNECTIONS: Final = 4
_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.02


class _Auditor:
    """Stands for Pub/Sub: acknowledges at once, and keeps the account of what came."""

    def __init__(self) -> None:
        self.ids: dict[str, set[int]] = defaultdict(set)
        self.lines: Counter[str] = Counter()
        self.from_rest = 0

    def publish(self, frame: SpooledFrame) -> Future[str]:
        decoded = decode_frame(frame.data)
        channel = decoded.header.channel
        self.lines[channel] += decoded.header.lines
        if channel == "trade":
            self.from_rest += decoded.header.lines * (decoded.header.source == "rest")
            for line in split_lines(decoded.body):
                trade = json.loads(line)["data"]
                self.ids[trade["s"]].add(trade["t"])
        future: Future[str] = Future()
        future.set_result(frame.frame_id)
        return future

    def close(self) -> None:
        pass


async def _rotate(url: str, rotations: int) -> dict[str, object]:
    """Let a collector rotate so often, each of its connections at the same time."""
    keep_freed_memory()
    auditor, stop = _Auditor(), asyncio.Event()
    (port,) = free_ports("127.0.0.1", 1)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            ws_url=url.replace("http", "ws", 1),
            rest_url=url,
            quote_assets=("*",),
            channels=("trade",),
            streams_per_connection=SYMBOLS // CONNECTIONS,
            spool_dir=Path(folder),
            http_port=port,
        )
        running = asyncio.create_task(Service(settings, auditor).run(stop))
        async with aiohttp.ClientSession() as client:
            own = f"http://127.0.0.1:{port}"
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
            async with client.get(f"{own}/metrics") as answer:
                metrics = dict(_metrics(await answer.text()))
            async with client.get(f"{url}/sim/totals") as answer:
                sent = {each["symbol"]: each for each in (await answer.json())["trades"]}
        stop.set()
        await running
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
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
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


def _metrics(text: str) -> list[tuple[str, float]]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return [(name, float(value)) for name, value in lines]


def measure(rotations: int) -> list[dict[str, object]]:
    """Measure `rotations` rotations over four connections at 2,000 trades/s."""
    arguments = ["--rate", str(RATE), "--symbols", str(SYMBOLS), "--history", "60"]
    with exchange(*arguments, "--limit", "connections_per_window=off", core=1) as url:
        return [run_json(["-m", "benchmarks.rotation", url, str(rotations)], core=0)]


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_rotate(sys.argv[1], int(sys.argv[2])))))
