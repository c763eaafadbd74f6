"""Latency per stage, as the mart has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sandbox.probes import get
from sandbox.warehouse import Warehouse

# Of the slowest minute: percentiles of minutes do not add up to one of them all.
_SQL: Final = """
select stage, max(p50_us) as p50_us, max(p99_us) as p99_us, max(max_us) as max_us
from `{project}.marts.pipeline_latency`
where opened_at >= timestamp '{live}'
group by stage
"""
STAGES: Final = (
    "exchange_to_received",
    "received_to_published",
    "published_to_loaded",
    "exchange_to_loaded",
)


@dataclass(frozen=True, slots=True)
class _Clock:
    """Whether the exchange's clock is the wall's, and from which of its times on."""

    is_wall: bool
    since: str


_ALWAYS: Final = "1970-01-01T00:00:00Z"
_WALL_CLOCK: Final = _Clock(is_wall=True, since=_ALWAYS)


def percentiles(warehouse: Warehouse, exchange_url: str | None) -> dict[str, Any]:
    """Return p50, p99 and max in ms of each stage's slowest minute.

    Stages that begin at the exchange are null when its clock is not the wall's: in a recording,
    or when the simulated market runs faster. Minutes of a hurry are left out of all.
    """
    clock = _WALL_CLOCK if exchange_url is None else _clock_of(exchange_url)
    rows = {row["stage"]: row for row in warehouse.rows(_SQL.replace("{live}", clock.since))}
    return {
        stage: {
            f"{name}_ms": int(rows[stage][f"{name}_us"]) / 1000 for name in ("p50", "p99", "max")
        }
        if stage in rows and (clock.is_wall or not stage.startswith("exchange"))
        else None
        for stage in STAGES
    }


def _clock_of(exchange_url: str) -> _Clock:
    _, body = get(f"{exchange_url}/sim/status")
    status = json.loads(body)
    is_wall = status["mode"] == "simulated" and float(status["speed"]) == 1.0
    return _Clock(is_wall, status["hurry_ends"] or _ALWAYS)
