"""Beam job on DirectRunner: Pub/Sub to acknowledged Storage Write and archive, one process.

A sandbox runs with a nearly silent market; a backlog of frames is published to its topic, and the
ledger says when each frame's rows had been acknowledged.
"""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.publish import PROJECT, frames_of
from benchmarks.tools import made_up_trades
from benchmarks.whole_sandbox import sandbox
from sandbox.warehouse import Warehouse

_LOADED = """
select sum(loaded_rows) as trades, count(*) as frames,
  unix_micros(min(loaded_at)) as first, unix_micros(max(loaded_at)) as last
from `{project}.ops.frames` where collector = 'bench'
"""
_LIMIT_SECONDS = 300


def measure(trades: int) -> list[dict[str, object]]:
    """Publish so many trades at once and measure how fast the job takes them."""
    with sandbox("--rate", "1", "--market-size", "1") as environment:
        os.environ.update(environment)
        frames = frames_of(made_up_trades(trades))
        _publish([frame.data for frame in frames])
        with Warehouse(PROJECT, environment["BIGQUERY_EMULATOR_HOST"]) as warehouse:
            row = _wait(warehouse, trades)
    seconds = (row["last"] - row["first"]) / 1e6
    first_bundle = trades / row["frames"] * 10  # loaded before the clock started
    return [
        {
            "trades": row["trades"],
            "frames": row["frames"],
            "seconds": seconds,
            "per_second": (trades - first_bundle) / seconds,
        }
    ]


def _publish(frames: list[bytes]) -> None:
    from google.cloud import pubsub_v1

    client = pubsub_v1.PublisherClient()
    topic = client.topic_path(PROJECT, "binance-frames")
    for future in [client.publish(topic, frame) for frame in frames]:
        future.result(60)


def _wait(warehouse: Warehouse, trades: int) -> dict[str, Any]:
    limit = time.monotonic() + _LIMIT_SECONDS
    while time.monotonic() < limit:
        row = warehouse.rows(_LOADED)[0]
        if row["trades"] is not None and row["trades"] >= trades:
            return row
        time.sleep(1)
    raise TimeoutError(f"the job had loaded {row['trades']} of {trades} trades after 5 minutes")
