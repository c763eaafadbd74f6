"""Collector: a long cut of a busy market; how soon it is named, how soon healed, at what weight.

`python -m benchmarks.holes URL SECONDS` is the measured process: a whole collector whose frames are
kept instead of published. `measure` starts it beside a simulated exchange with Binance's limits.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any, Final

import aiohttp
import uvloop

from benchmarks.tools import exchange, run_json
from benchmarks.whole_collector import metrics_of, whole_collector
from market_data.channels import HOLE
from market_data.frames import Frame, split_lines

RATE: Final = 500
SYMBOLS: Final = 50
_BEFORE_SECONDS: Final = 10.0
_LIMIT_SECONDS: Final = 120.0


async def _cut(url: str, seconds: int) -> dict[str, object]:
    """Cut a collector off for so long and let it heal."""
    frames: list[Frame] = []
    async with whole_collector(url, frames.append) as (client, own):
        await asyncio.sleep(_BEFORE_SECONDS)
        fault = {"what": "cut", "seconds": seconds}
        async with client.post(f"{url}/sim/faults", json=fault) as answer:
            assert answer.status < 300, await answer.text()
        started = time.time_ns() // 1000
        await asyncio.sleep(seconds)
        await _healed(client, own)
        metrics = await metrics_of(client, own)
    holes = [
        json.loads(line)["data"]
        for frame in frames
        if frame.header.channel == HOLE
        for line in split_lines(frame.body)
    ]
    return _judge(frames, holes, metrics, started)


def _judge(
    frames: list[Frame], holes: list[dict[str, Any]], metrics: dict[str, float], started: int
) -> dict[str, object]:
    first = {  # the first message of each symbol behind the cut
        symbol: frame.header.opened_at
        for frame in reversed(frames)
        if frame.header.source == "stream" and frame.header.opened_at > started
        for symbol in frame.header.symbols
    }
    missing = sum(hole["missing"] for hole in holes)
    pages = sum(-(-hole["missing"] // 1000) for hole in holes)
    again = min(first.values())
    weight = metrics["collector_rest_weight_total"] - 20  # exchangeInfo at the start
    return {
        "holes": len(holes),
        "missing": missing,
        "healed": metrics['collector_hole_ids_total{outcome="healed"}'],
        "detected_s_max": max(h["found_at"] - first[h["symbol"]] for h in holes) / 1e6,
        "closed_s_max": max(h["closed_at"] - h["found_at"] for h in holes) / 1e6,
        "all_closed_s": (max(h["closed_at"] for h in holes) - again) / 1e6,
        "weight": weight,
        "weight_a_page": weight / pages,
        "weight_a_1000_ids": weight / missing * 1000,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


async def _healed(client: aiohttp.ClientSession, own: str) -> None:
    """Wait until the collector is well again and has had nothing open for some seconds."""
    whole_since = None
    async with asyncio.timeout(_LIMIT_SECONDS):
        while whole_since is None or time.monotonic() < whole_since + 10:
            async with client.get(f"{own}/healthz") as answer:
                health = await answer.json()
            if health["status"] != "ok" or health["holes"]["open"]:
                whole_since = None
            elif whole_since is None:
                whole_since = time.monotonic()
            await asyncio.sleep(0.2)


def measure(seconds: int) -> list[dict[str, object]]:
    """Measure a cut of so many seconds at 500 trades/s over 50 symbols."""
    arguments = ["--rate", str(RATE), "--symbols", str(SYMBOLS), "--history", "60"]
    with exchange(*arguments, core=1) as url:
        return [run_json(["-m", "benchmarks.holes", url, str(seconds)], core=0)]


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_cut(sys.argv[1], int(sys.argv[2])))))
