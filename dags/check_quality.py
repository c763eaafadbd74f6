"""Checks whether the market's data is true.

### What

Looks whether the market's data is true: `low <= open, close <= high`, trade ids unique and without
a hole, frames without a gap, 60 minutes rebuild the hour, every difference to Binance's candles has
a reason. Each truth is marked `fail` or `warn`; `docs/quality.md` lists all.

### Inputs and outputs

After each build of the marts it looks at the last six hours, by hand at any `day` or number of
`hours`. `check` runs all suites with Great Expectations, appends what they found to
`ops.quality_results` and publishes Data Docs to the bucket under `quality/data_docs/`; `judge`
shows one suite each. The asset `quality` is emitted when no truth marked `fail` is violated.

### When it fails

* `judge` of a suite: a truth does not hold. Its log names rows, meaning and remedy. People are told
  when it held before. What depends on the asset waits; the next check that holds sets it free.
* `check`: something could not be looked at (BigQuery or the bucket away); it is tried again.

### Owner

market-data
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from market_ops.assets import MARTS, QUALITY
from market_ops.defaults import DEFAULT_ARGS, START
from market_ops.quality.suites import SUITE_NAMES


@dag(
    doc_md=__doc__,
    default_args=DEFAULT_ARGS,
    start_date=START,
    schedule=MARTS,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=20),
    tags=["quality", "scheduled"],
    params={
        "day": Param(None, type=["null", "string"], format="date", title="UTC day; empty: hours"),
        "hours": Param(6, type="integer", minimum=1, maximum=168, title="The last hours"),
        "suites": Param(
            list(SUITE_NAMES), type="array", examples=list(SUITE_NAMES), minItems=1, title="Suites"
        ),
    },
)
def check_quality() -> None:
    """Wire the tasks."""

    @task(inlets=[MARTS], execution_timeout=timedelta(minutes=10))
    def check() -> list[dict[str, Any]]:
        from market_ops.clients import archive_bucket, bigquery_client
        from market_ops.quality.check import check
        from market_ops.settings import read_settings

        settings, context = read_settings(), get_current_context()
        params = context["params"]
        verdicts: list[dict[str, Any]] = check(
            bigquery_client(settings),
            archive_bucket(settings),
            settings,
            run_id=context["run_id"],
            day=params["day"],
            hours=params["hours"],
            names=params["suites"],
        )
        return verdicts

    # It tells people itself, once: the next check comes in minutes and would tell them again.
    @task(
        retries=0,
        on_failure_callback=None,
        map_index_template="{{ task.op_kwargs['verdict']['suite'] }}",
    )
    def judge(verdict: dict[str, Any]) -> None:
        from market_ops.quality.check import judge

        judge(verdict)

    @task(outlets=[QUALITY])
    def quality_holds() -> None:
        pass

    judge.expand(verdict=check()) >> quality_holds()


check_quality()
