"""Builds and tests the marts with dbt.

### What

One `dbt build` over the whole project every three minutes, through Cosmos: what received rows
since the last build is computed again, then the data tests run. The task's XCom `results` has the
number of nodes by status, what failed and what was slowest.

### Inputs and outputs

Reads the datasets `raw` and `ops` (asset `raw`); writes `staging`, `intermediate`, `marts` and
`ops.model_builds` (asset `marts`).

### When it fails

The log ends with the names of the models or tests that failed and BigQuery's or the test's message;
models below them were skipped and keep their last state. A test that failed found data that is
wrong: `dbt test --select NAME --store-failures` keeps its rows. Nothing has to be cleared: every
run catches up on whatever earlier ones missed. Clearing `build` is safe, it is a whole build.
"another dbt run built it while this run was under way": somebody runs dbt by hand; nothing was
changed, the next run is due soon.

### Owner

market-data
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag
from market_ops.assets import MARTS, RAW
from market_ops.dbt import DbtBuild, build_arguments
from market_ops.defaults import DEFAULT_ARGS, START


@dag(
    schedule="*/3 * * * *",
    start_date=START,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),
    default_args=DEFAULT_ARGS,
    tags=["marts", "scheduled"],
    doc_md=__doc__,
)
def build_marts() -> None:
    """Wire the tasks."""
    DbtBuild(
        task_id="build",
        retries=1,
        execution_timeout=timedelta(minutes=20),
        inlets=[RAW],
        outlets=[MARTS],
        **build_arguments(),
    )


build_marts()
