"""Writes the quality report of a UTC day: verdict, evidence, and what to do.

### What

Half an hour after midnight UTC, for the day that ended: late enough for the first trades of the new
day, which prove the end of the old one, to have gone through `build_marts`. With the parameter
`day` for any other day, also for today so far; a report that is made again replaces the old one.
When the marts have nothing of the day nor of any before it, `find_day` skips the rest: the platform
began later. `check_day` runs the suites of `check_quality` over the whole day, so that what has
been mended since a check failed is told from what has not. `docs/report.md` explains the report.

### Inputs and outputs

Reads the marts, `raw.rejections` and `ops.quality_results`. Writes
`reports/quality/dt=YYYY-MM-DD/report.html` and `report.json` and, unless it holds a later day,
`reports/quality/latest.html`. The link is the result of `write_report`, in its log and on the event
of the asset `report`. Mailed to `alerts.mail` of the Variable `market_ops`; without, `send_report`
is skipped.

### When it fails

A bad verdict fails nothing: it is in the report. `check_day` fails when something could not be
looked at; the report is made all the same. `write_report` fails when the warehouse or the bucket
don't answer, or for a `day` that was given before `build_marts` has ever run; mend that and clear
the task. `send_report` fails when the mail server refuses: look at the connection `smtp_default`,
then clear it alone, as the report is stored by then.

### Owner

market-data
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk import Param, TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from market_ops.assets import ARCHIVE, QUALITY, REPORT
from market_ops.defaults import DEFAULT_ARGS, START


@dag(
    schedule="30 0 * * *",
    start_date=START,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=DEFAULT_ARGS,
    tags=["report", "quality", "scheduled"],
    doc_md=__doc__,
    params={
        "day": Param(
            None,
            type=["null", "string"],
            pattern=r"^(\d{4}-\d{2}-\d{2}|today)?$",
            description="UTC day as 2026-03-01, or today; empty for the day that ended last",
        )
    },
)
def report_quality() -> None:
    """Wire the tasks."""

    @task.short_circuit(execution_timeout=timedelta(minutes=5))
    def find_day() -> str | None:
        from market_ops.clients import bigquery_client
        from market_ops.report.publish import day_of, has_begun
        from market_ops.settings import read_settings

        context = get_current_context()
        asked = context["params"]["day"]
        day = day_of(asked, context["dag_run"].run_after)
        if asked or has_begun(bigquery_client(read_settings()), day):
            return day.isoformat()
        return None

    @task(execution_timeout=timedelta(minutes=10))
    def check_day(day: str) -> None:
        from market_ops.clients import archive_bucket, bigquery_client
        from market_ops.quality.check import check
        from market_ops.quality.suites import SUITE_NAMES
        from market_ops.settings import read_settings

        settings, run_id = read_settings(), get_current_context()["run_id"]
        clients = bigquery_client(settings), archive_bucket(settings)
        check(*clients, settings, run_id=run_id, day=day, hours=24, names=SUITE_NAMES)

    # It is written when `check_day` fails, but not without a day.
    @task(
        inlets=[QUALITY, ARCHIVE],
        outlets=[REPORT],
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        execution_timeout=timedelta(minutes=20),
    )
    def write_report(day: str) -> dict[str, Any]:
        from market_ops.clients import archive_bucket, bigquery_client
        from market_ops.report.publish import make_report
        from market_ops.settings import read_settings

        settings = read_settings()
        client, bucket = bigquery_client(settings), archive_bucket(settings)
        made = make_report(client, bucket, settings, date.fromisoformat(day), datetime.now(UTC))
        get_current_context()["outlet_events"][REPORT].extra = made
        return made

    @task(execution_timeout=timedelta(minutes=5))
    def send_report(made: dict[str, Any]) -> None:
        from market_ops.clients import archive_bucket
        from market_ops.report.publish import send_report
        from market_ops.settings import read_settings

        settings = read_settings()
        if not send_report(archive_bucket(settings), settings, date.fromisoformat(made["day"])):
            raise AirflowSkipException("no address in alerts.mail: the report is not mailed")

    day = find_day()
    written = write_report(day)
    check_day(day) >> written
    send_report(written)


report_quality()
