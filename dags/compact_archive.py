"""Compacts closed hours of the raw archive to sorted Parquet, then removes what is old and proven.

### What

Every hour. `find_hours` lists the hours of arrival that ended ten minutes ago or longer and have
raw objects that are in no compacted one, late ones too; the oldest 24 are compacted, one after
another, and hours that failed before only behind the others. By hand with `first_hour` and
`last_hour` for a range. `remove_old` removes raw objects `retention_days` (Variable `market_ops`)
after their hour was compacted, if the control totals of old and new are equal and the new objects
were read back. `docs/archive.md` has the layout.

### Inputs and outputs

Reads `raw/market=spot/channel=trade/` of the bucket (asset `raw`); writes Parquet, manifests and
receipts below `compact/` (asset `archive`; each hour's event has rows and bytes before and after).

### When it fails

`compact` of an hour names the object and what is wrong with it: restore it from an earlier version,
or move it and its manifest away and have its ids repaired; the other hours are compacted, of this
one nothing was written or removed. `remove_old` then fails too and names the hours that wait.
Objects that it calls unproven stay for good: look at their lines. Clearing any task is safe.

### Owner

market-data
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from market_ops.assets import ARCHIVE, RAW
from market_ops.defaults import DEFAULT_ARGS, START

HOURS_A_RUN = 24
HOUR = Param(
    None,
    type=["null", "string"],
    pattern=r"^(\d{4}-\d{2}-\d{2}T\d{2})?$",
    description="UTC hour of arrival as 2026-03-01T17; empty for no limit",
)


@dag(
    schedule="15 * * * *",
    start_date=START,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    default_args=DEFAULT_ARGS,
    tags=["archive", "scheduled"],
    doc_md=__doc__,
    params={"first_hour": HOUR, "last_hour": HOUR},
)
def compact_archive() -> None:
    """Wire the tasks."""

    @task
    def find_hours() -> list[str]:
        from market_ops.archive.run import find_hours

        params = get_current_context()["params"]
        return find_hours(params["first_hour"], params["last_hour"], HOURS_A_RUN)

    # Two at once could replace the same manifest: the second would fail, and be repeated for
    # nothing.
    @task(
        inlets=[RAW],
        outlets=[ARCHIVE],
        max_active_tis_per_dag=1,
        map_index_template="{{ hour }}",
        execution_timeout=timedelta(hours=1),
    )
    def compact(hour: str) -> dict[str, Any]:
        from market_ops.archive.run import Unusable, compact

        context = get_current_context()
        context["hour"] = hour
        try:
            made = compact(hour)
        except Unusable as error:
            raise AirflowFailException(str(error)) from error  # no retry can mend it
        context["outlet_events"][ARCHIVE].extra = made
        return made

    @task(trigger_rule="all_done")
    def remove_old(hours: list[str] | None) -> dict[str, Any]:
        from market_ops.archive.run import Unusable, remove_old

        try:
            return remove_old(hours)
        except Unusable as error:
            raise AirflowFailException(str(error)) from error

    hours = find_hours()
    compact.expand(hour=hours) >> remove_old(hours)


compact_archive()
