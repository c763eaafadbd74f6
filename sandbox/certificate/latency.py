"""Latency per stage, from the times that the rows and frames carry."""

from __future__ import annotations

import json
from typing import Any, Final

from sandbox.probes import get
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


def percentiles(warehouse: Warehouse, exchange_url: str | None) -> dict[str, Any]:
    """Return p50, p99 and max in ms of each stage.

    Stages that begin at the exchange are null when its clock is not the wall's: in a recording,
    or when the simulated market runs faster.
    """
    has_wall_clock = exchange_url is None or _runs_on_wall_clock(exchange_url)
    return {
        stage: _measure(warehouse, since, until)
        if has_wall_clock or not stage.startswith("exchange")
        else None
        for stage, (since, until) in _STAGES.items()
    }


def _measure(warehouse: Warehouse, since: str, until: str) -> dict[str, float] | None:
    rows = warehouse.rows(_SQL.replace("{since}", since).replace("{until}", until))
    quantiles = rows[0]["quantiles"] if rows else None
    if not quantiles:
        return None
    return {
        "p50_ms": int(quantiles[50]) / 1000,
        "p99_ms": int(quantiles[99]) / 1000,
        "max_ms": int(quantiles[100]) / 1000,
    }


def _runs_on_wall_clock(exchange_url: str) -> bool:
    _, body = get(f"{exchange_url}/sim/status")
    status = json.loads(body)
    return status["mode"] == "simulated" and float(status["speed"]) == 1.0
