"""What was broken and what became of it, for people: injections, and the holes of `ops.holes`."""

from __future__ import annotations

from typing import Any, Final

from rich.table import Table

from sandbox.bigquery.rest import query
from sandbox.settings import Platform

MAX_SHOWN: Final = 20
_HOLES: Final = """
select channel, symbol, first_missing_id, last_missing_id, missing, outcome, cause, source,
  unix_micros(found_at) as found_us, unix_micros(closed_at) as closed_us
from `{project}.ops.holes`
where found_at >= timestamp '2017-07-01' -- a condition on the partitions; Binance opened then
qualify row_number() over (
  partition by market, channel, symbol, first_missing_id, last_missing_id
  order by closed_at is null, closed_at desc
) = 1
order by found_at, channel, symbol, first_missing_id
"""

_TEXTS: Final = ("symbol", "channel", "cause", "outcome", "source")
_HEADINGS: Final = (
    *("symbol", "channel", "first id", "last id", "ids"),
    *("cause", "open for", "outcome", "source"),
)

Hole = dict[str, Any]


def read_holes(platform: Platform) -> list[Hole]:
    """Return what became of each range of missing ids, the newest word on it.

    Raises:
        QueryError: BigQuery refuses or does not answer.
    """
    sql = _HOLES.replace("{project}", platform.project)
    return [*query(platform.bigquery_url, platform.project, sql)]


def open_holes(holes: list[Hole]) -> list[Hole]:
    """Return the holes that are neither healed nor absent at the source."""
    return [hole for hole in holes if hole["closed_us"] is None]


def holes_table(holes: list[Hole]) -> Table:
    """Return the holes, longest open first."""
    table = Table(
        title=f"holes in the ids, as ops.holes has them: {len(holes)} ranges,"
        f" {sum(int(hole['missing'] or 0) for hole in holes):,} ids, {len(open_holes(holes))} open",
        title_justify="left",
    )
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in _TEXTS else "right")
    for hole in sorted(holes, key=_seconds_open, reverse=True)[:MAX_SHOWN]:
        seconds = _seconds_open(hole)
        table.add_row(
            hole["symbol"],
            hole["channel"],
            str(hole["first_missing_id"]),
            str(hole["last_missing_id"]),
            str(hole["missing"]),
            hole["cause"],
            "still" if seconds == float("inf") else f"{seconds:.1f} s",
            hole["outcome"],
            hole["source"],
        )
    return table


def _seconds_open(hole: Hole) -> float:
    if hole["closed_us"] is None:
        return float("inf")
    return (int(hole["closed_us"]) - int(hole["found_us"])) / 1e6
