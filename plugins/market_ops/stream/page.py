"""The health page inside Airflow's UI: who is at fault, what is complete, how late, what is lost.

Read-only and for logged-in users who may see the DAG `watch_stream`. The warehouse is asked once
in `CACHE_SECONDS`, however many people look.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..repair.holes import without
from .decisions import Stage
from .incidents import VARIABLE, Incident, State, state_of_json
from .observe import absences, query

if TYPE_CHECKING:
    from fastapi import FastAPI
    from google.cloud import bigquery

CACHE_SECONDS: Final = 20.0
HOURS: Final = 24
# Worst first: a person reads no more rows than these.
SYMBOLS: Final = 100
_MILLISECOND: Final = 1_000

# One row per symbol and hour; the hour's candle knows how many ids it may lack.
COMPLETENESS: Final = """
select
  symbol,
  opened_at,
  sum(trades) as trades,
  sum(missing_trades) as missing
from `{project}.marts.ohlcv_1h`
where opened_at >= @since
group by 1, 2
"""

DAYS: Final = """
select
  symbol,
  max(last_id) as last_id,
  sum(present) as present,
  sum(missing + missing_before) as missing,
  sum(healed) as healed,
  max_by(verdict, traded_on) as verdict
from `{project}.marts.market_completeness`
where traded_on >= date(@since)
group by 1
"""

LAGS: Final = """
select
  stage,
  max(opened_at) as opened_at,
  max_by(p50_us, opened_at) as p50_us,
  max_by(p99_us, opened_at) as p99_us,
  max(p99_us) as worst_p99_us
from `{project}.marts.pipeline_latency`
where opened_at >= @since
group by 1
"""

OPEN_HOLES: Final = """
select
  market,
  symbol,
  first_missing_id,
  last_missing_id,
  missing,
  previous_traded_at,
  next_traded_at,
  is_unpublished
from `{project}.intermediate.int_id_holes`
order by is_unpublished, missing desc, symbol, first_missing_id
limit 50
"""

LAG_STAGES: Final = (
    ("exchange_to_received", "exchange to collector"),
    ("received_to_published", "collector to Pub/Sub"),
    ("published_to_loaded", "Pub/Sub to BigQuery"),
    ("exchange_to_loaded", "exchange to BigQuery"),
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the marts say; `error` says why they could not be asked."""

    error: str = ""
    cells: Sequence[Mapping[str, Any]] = ()
    days: Sequence[Mapping[str, Any]] = ()
    lags: Sequence[Mapping[str, Any]] = ()
    holes: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Cell:
    """A symbol's hour: its CSS class and what the pointer is told."""

    kind: str
    title: str


@dataclass(frozen=True)
class Row:
    """A symbol's row of the grid."""

    symbol: str
    verdict: str
    missing: int
    healed: int
    cells: Sequence[Cell]


def read_evidence(client: bigquery.Client, at: datetime) -> Evidence:
    """Ask the marts.

    Raises:
        google.api_core.exceptions.GoogleAPICallError: BigQuery refuses.
    """
    since = _hour(at) - timedelta(hours=HOURS - 1)
    return Evidence(
        cells=query(client, COMPLETENESS, {"since": since}),
        days=query(client, DAYS, {"since": since}),
        lags=query(client, LAGS, {"since": at - timedelta(hours=1)}),
        holes=_holes(client),
    )


def _holes(client: bigquery.Client) -> list[dict[str, Any]]:
    holes = query(client, OPEN_HOLES, {})
    absent = absences(client, holes)
    return [
        hole
        | {
            "is_absent": not without(
                (hole["first_missing_id"], hole["last_missing_id"]),
                absent.get((hole["market"], hole["symbol"]), ()),
            )
        }
        for hole in holes
    ]


def hours_of(at: datetime) -> list[datetime]:
    """Return the starts of the grid's hours, the oldest first."""
    return [_hour(at) - timedelta(hours=number) for number in reversed(range(HOURS))]


def grid_of(evidence: Evidence, at: datetime) -> list[Row]:
    """Return the grid's rows, worst first, then by number of trades."""
    by_place = {(cell["symbol"], cell["opened_at"]): cell for cell in evidence.cells}
    hours = hours_of(at)
    days = sorted(
        evidence.days,
        key=lambda day: (day["verdict"] != "INCOMPLETE", -day["missing"], -day["present"]),
    )
    return [
        Row(
            symbol=day["symbol"],
            verdict=day["verdict"],
            missing=day["missing"],
            healed=day["healed"],
            cells=[_cell(by_place.get((day["symbol"], hour)), hour) for hour in hours],
        )
        for day in days
    ]


def _cell(candle: Mapping[str, Any] | None, hour: datetime) -> Cell:
    if candle is None:
        return Cell("none", f"{hour:%H:%MZ}: no candle")
    if candle["missing"]:
        return Cell("hole", f"{hour:%H:%MZ}: {candle['missing']:,} trades missing")
    if not candle["trades"]:
        return Cell("quiet", f"{hour:%H:%MZ}: no trades")
    return Cell("whole", f"{hour:%H:%MZ}: {candle['trades']:,} trades, none missing")


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def milliseconds(microseconds: int | None) -> str:
    """Write a time for people."""
    if microseconds is None:
        return "–"
    value = microseconds // _MILLISECOND
    return f"{value:,} ms" if value < 10_000 else f"{value // 1_000:,} s"


def render(state: State, evidence: Evidence, at: datetime) -> str:
    """Return the page's HTML; everything that comes from outside is escaped."""
    grid = grid_of(evidence, at)
    worst: dict[str, Incident] = {str(incident.stage): incident for incident in state.open}
    return str(
        _template().render(
            at=at,
            state=state,
            stages=[(str(stage), worst.get(str(stage))) for stage in Stage],
            over=[incident for incident in state.incidents if incident.cleared_at is not None],
            evidence=evidence,
            hours=hours_of(at),
            grid=grid[:SYMBOLS],
            symbols=len(grid),
            lags={lag["stage"]: lag for lag in evidence.lags},
            lag_stages=LAG_STAGES,
            milliseconds=milliseconds,
        )
    )


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("health.html")


class Cached:
    """Evidence that is asked for once in a while, by one thread at a time.

    Args:
        read: asks for it; whatever it raises becomes the evidence's `error`.
        clock: returns seconds.
    """

    def __init__(
        self, read: Callable[[], Evidence], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._evidence = Evidence()

    def get(self) -> Evidence:
        """Return the evidence, at most `CACHE_SECONDS` old."""
        with self._lock:
            if self._clock() >= self._until:
                try:
                    self._evidence = self._read()
                except Exception as error:
                    self._evidence = Evidence(error=f"{type(error).__name__}: {error}"[:300])
                self._until = self._clock() + CACHE_SECONDS
            return self._evidence


def _read_now() -> Evidence:
    from ..clients import bigquery_client
    from ..settings import read_settings

    return read_evidence(bigquery_client(read_settings()), datetime.now(UTC))


def _read_state() -> State:
    from airflow.sdk import Variable

    return state_of_json(Variable.get(VARIABLE, default=None, deserialize_json=True))


@functools.cache
def application() -> FastAPI:
    """Return the page's application; Airflow mounts it."""
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse

    may_see = Depends(requires_access_dag(method="GET", param_dag_id="watch_stream"))
    app = FastAPI(
        title="Stream health",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[may_see],
    )
    cached = Cached(_read_now)

    @app.get("/", response_class=HTMLResponse)
    def page() -> HTMLResponse:
        html = render(_read_state(), cached.get(), datetime.now(UTC))
        return HTMLResponse(html, headers=HEADERS)

    return app


HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
