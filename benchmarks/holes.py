"""Collector: a long cut of a busy market; how soon it is named, how soon healed, at what weight.

`python -m benchmarks.holes URL SECONDS` is the measured process: a whole collector whose frames are
kept instead of published. `measure` starts it beside a simulated exchange with Binance's limits.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any, Final

import aiohttp
import uvloop

from benchmarks.tools import exchange, peak_mib, run_json
from benchmarks.whole_collector import metrics_of, whole_collector
from collector.history import ENDPOINTS, PAGE
from market_data.channels import HOLE
from market_data.frames import Frame, split_lines

RATE: Final = 500
# A page has 1,000 ids of one symbol, whose weight is the same with one id in it: two busy symbols
# fill their pages, fifty don't.
SYMBOLS: Final = (2, 50)
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
    missing: Counter[str] = Counter()
    for hole in holes:
        missing[hole["symbol"]] += hole["missing"]
    again = min(first.values())
    weight = metrics["collector_rest_weight_total"] - 20  # exchangeInfo at the start
    return {
        "symbols": len(missing),
        "holes": len(holes),
        "missing": missing.total(),
        "healed": metrics['collector_hole_ids_total{outcome="healed"}'],
        "detected_s_max": max(h["found_at"] - first[h["symbol"]] for h in holes) / 1e6,
        "closed_s_max": max(h["closed_at"] - h["found_at"] for h in holes) / 1e6,
        "all_closed_s": (max(h["closed_at"] for h in holes) - again) / 1e6,
        "weight": weight,
        "weight_a_1000_ids": weight / missing.total() * 1000,
        "pages": weight / ENDPOINTS["trade"].weight,
        "fewest_pages": sum(-(-ids // PAGE) for ids in missing.values()),
        "is_refused": metrics["collector_rest_paused_until"] > 0,
        "peak_mb": peak_mib(),
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
    """Measure a cut of so many seconds at 500 trades/s, a row for each number of symbols."""
    rows: list[dict[str, object]] = []
    for symbols in SYMBOLS:
        arguments = ["--rate", str(RATE), "--symbols", str(symbols), "--history", "60"]
        with exchange(*arguments, core=1) as url:
            rows.append(run_json(["-m", "benchmarks.holes", url, str(seconds)], core=0))
    return rows


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_cut(sys.argv[1], int(sys.argv[2])))))
