"""Fetches trades that are missing, and proves which were never made.

### What

After each build of the marts: holes in the trade ids that are five minutes old are fetched from
Binance's REST, else from data.binance.vision, the newest day's first and small ones before large
ones, at most 50 holes and 100,000 ids a run. By hand with `symbol`, `first_id` and `last_id`, and
`day` for the archive.

### Inputs and outputs

Reads `intermediate.int_id_holes` (asset `marts`). Publishes the trades as frames through the topic
of all frames, so that the streaming job loads them as any others; waits until `ops.frames` has
them, then appends what became of each range to `ops.holes`: `healed`, `absent_at_source` with the
witnesses, or `failed`. The next build of the marts closes the holes. Keeps the end of a ban in the
Variable `market_ops_exchange`.

### When it fails

`record` names each range that failed for the first time, and why; docs/repair.md has the remedies.
It is tried again after an hour, then less often, at least daily. `loaded` fails: the streaming job
did not load the frames within 20 minutes; see `watch_stream`. Clearing any task is safe.

### Owner

market-data
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from market_ops.assets import MARTS, RAW
from market_ops.defaults import DEFAULT_ARGS, START

ID = {"type": ["null", "integer"], "minimum": 0}


@dag(
    schedule=MARTS,
    start_date=START,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=DEFAULT_ARGS,
    tags=["repair", "scheduled"],
    doc_md=__doc__,
    params={
        "symbol": Param(None, type=["null", "string"], title="Symbol; empty: all open holes"),
        "first_id": Param(None, **ID, title="First trade id"),
        "last_id": Param(None, **ID, title="Last trade id, inclusive"),
        "day": Param(None, type=["null", "string"], format="date", title="UTC day of the range"),
    },
)
def repair_gaps() -> None:
    """Wire the tasks."""

    @task.short_circuit(inlets=[MARTS], execution_timeout=timedelta(minutes=5))
    def find() -> dict[str, Any] | None:
        from datetime import UTC, datetime

        from market_ops.clients import bigquery_client
        from market_ops.repair import run
        from market_ops.settings import read_settings

        asked = get_current_context()["params"]
        wanted = {name: asked[name] for name in ("symbol", "first_id", "last_id", "day")}
        try:
            return run.find(bigquery_client(read_settings()), datetime.now(UTC), **wanted)
        except run.RepairFailed as error:
            raise AirflowFailException(str(error)) from error

    @task(execution_timeout=timedelta(minutes=20))
    def fetch(plan: dict[str, Any]) -> dict[str, Any]:
        from market_ops.repair import run
        from market_ops.settings import read_settings

        return run.fetch_and_publish(plan, read_settings())

    # What is not loaded in time is a failed repair: `record` says so.
    @task.sensor(poke_interval=10, timeout=20 * 60, mode="reschedule", on_failure_callback=None)
    def loaded(plan: dict[str, Any], done: dict[str, Any]) -> bool:
        from market_ops.clients import bigquery_client
        from market_ops.repair import run
        from market_ops.settings import read_settings

        return run.all_loaded(bigquery_client(read_settings()), plan, done)

    @task(trigger_rule="all_done", outlets=[RAW], execution_timeout=timedelta(minutes=5))
    def record(plan: dict[str, Any], done: dict[str, Any] | None) -> dict[str, Any]:
        from market_ops.clients import bigquery_client
        from market_ops.repair import run
        from market_ops.settings import read_settings

        if done is None:
            raise AirflowFailException("nothing was fetched: see the log of the task `fetch`")
        run_id = get_current_context()["run_id"]
        try:
            return run.record(bigquery_client(read_settings()), run_id, plan, done)
        except run.RepairFailed as error:
            raise AirflowFailException(str(error)) from error

    plan = find()
    done = fetch(plan)
    loaded(plan, done) >> record(plan, done)


repair_gaps()
