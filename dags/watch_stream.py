"""Watches the stream and names the stage at fault.

### What

Looks every two minutes. The red task is the stage at fault: `exchange`, `collector`, `broker`,
`job`, `warehouse`, or `holes` for trades that are lost already; its log has what was seen and what
to do. When nothing is at fault, `all_well` is green and the others are skipped. People are told
once when an incident opens and once when it is over.

### Inputs and outputs

Reads the collectors' and the job's HTTP endpoints (on Google Cloud Dataflow and Cloud Monitoring),
the job's subscription, `ops.frames`, `ops.frame_symbols`, `intermediate.int_id_holes` and, for
symbols that are unusually silent, Binance's REST. Writes the Variable `market_ops_stream`. Starts
the Dataflow job from its flex template when it should run and does not: never while one is active,
within an hour of a drain, update or cancellation, or within ten minutes of the last start.

### When it fails

A stage's task fails: do what its log says; docs/monitoring.md has an entry for every cause.
`look` fails: the Variable `market_ops` or `market_ops_stream` is wrong; the log names the mistake.
`start_job` fails: Dataflow refuses the template; the log has its answer, the next run tries again.

### Owner

market-data
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from market_ops.defaults import DEFAULT_ARGS, START

STAGES = ("exchange", "collector", "broker", "job", "warehouse", "holes")
# `look` has told people already, once; a stage's failure is there to be seen.
SILENT: dict[str, Any] = {"retries": 0, "on_failure_callback": None}


@dag(
    schedule="*/2 * * * *",
    start_date=START,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=10),
    default_args=DEFAULT_ARGS,
    tags=["stream", "scheduled"],
    doc_md=__doc__,
)
def watch_stream() -> None:
    """Wire the tasks."""

    @task.branch(
        retries=1, retry_delay=timedelta(seconds=5), execution_timeout=timedelta(minutes=5)
    )
    def look() -> list[str]:
        from market_ops.settings import read_settings
        from market_ops.stream import watch
        from market_ops.stream.incidents import reports

        incidents, starts_job = watch.look(read_settings())
        found = reports(incidents)
        get_current_context()["ti"].xcom_push("reports", found)
        return [*found, *(["start_job"] if starts_job else [])] or ["all_well"]

    @task(**SILENT, execution_timeout=timedelta(minutes=1))
    def stage(name: str) -> None:
        found = get_current_context()["ti"].xcom_pull(task_ids="look", key="reports")
        raise AirflowFailException(found[name])

    @task(retries=0, execution_timeout=timedelta(minutes=2))
    def start_job() -> str:
        from market_ops.settings import read_settings
        from market_ops.stream import watch

        job_id: str = watch.start_job(read_settings())
        return job_id

    stages = [stage.override(task_id=name)(name) for name in STAGES]
    look() >> [*stages, start_job(), EmptyOperator(task_id="all_well")]


watch_stream()
