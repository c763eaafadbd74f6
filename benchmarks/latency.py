"""Exchange to queryable row at 1,000 trades/s, with default settings and no dbt beside it."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.publish import PROJECT
from benchmarks.whole_sandbox import sandbox
from sandbox.warehouse import Warehouse

# Each stage: from which time to which, per trade; published and loaded are known per frame.
_STAGES: Final = {
    "exchange_to_received": ("trade.event_at", "trade.received_at"),
    "received_to_published": ("trade.received_at", "frame.published_at"),
    "published_to_loaded": ("frame.published_at", "frame.loaded_at"),
    "exchange_to_loaded": ("trade.event_at", "frame.loaded_at"),
}
_SQL: Final = """
select approx_quantiles(timestamp_diff({until}, {since}, microsecond), 100) as quantiles
from `{project}.raw.trades` as trade
inner join (
  select frame_id, min(published_at) as published_at, min(loaded_at) as loaded_at
  from `{project}.ops.frames` group by frame_id
) as frame on frame.frame_id = trade.frame_id
"""


def measure(seconds: int) -> list[dict[str, object]]:
    """Run the sandbox so long and read the latency of each stage off the rows."""
    with sandbox("--rate", "1000") as environment:
        time.sleep(seconds)
        with Warehouse(PROJECT, environment["BIGQUERY_EMULATOR_HOST"]) as warehouse:
            return [
                {"stage": stage, **_percentiles(warehouse, since, until)}
                for stage, (since, until) in _STAGES.items()
            ]


def _percentiles(warehouse: Warehouse, since: str, until: str) -> dict[str, float]:
    (row,) = warehouse.rows(_SQL.replace("{since}", since).replace("{until}", until))
    quantiles = row["quantiles"]
    return {
        name: int(quantiles[percent]) / 1000
        for name, percent in (("p50_ms", 50), ("p99_ms", 99), ("max_ms", 100))
    }
