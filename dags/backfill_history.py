"""Loads days of history from data.binance.vision.

### What

By hand, with `symbols`, `kinds`, `first_day` and `last_day`: downloads the daily files, verifies
them against their CHECKSUM, refuses mangled ones, holds trades against the official klines (count,
volume, quote volume of each minute), and swaps the day into the raw tables as one frame.

### Inputs and outputs

Reads data.binance.vision. Stages Parquet below `backfill/staging/` of the bucket and in a table of
`ops`, both removed afterwards; replaces the rows of that symbol, day and kind that came from the
archive in `raw.trades`, `raw.agg_trades`, `raw.klines`, then enters the frame into
`ops.frame_symbols` and `ops.frames`, by which the marts find it (asset `raw`). A day that is in the
ledger is finished and left out, unless `again` is set.

### When it fails

`backfill` of a day names the file and what is wrong with it: line, column and value, or the minutes
that differ; docs/backfill.md has the remedies. Of that day nothing was loaded; the other days go
on. Clearing any task, and running it again for the same range, is safe.

### Owner

market-data
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from market_ops.assets import RAW
from market_ops.defaults import DEFAULT_ARGS, START

KINDS = ["trades", "aggTrades", "klines"]
DAY = {"type": ["null", "string"], "format": "date"}


@dag(
    schedule=None,
    start_date=START,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(days=1),
    default_args=DEFAULT_ARGS,
    tags=["repair", "manual"],
    doc_md=__doc__,
    params={
        "symbols": Param([], type="array", items={"type": "string"}, title="As BTCUSDT"),
        "kinds": Param(KINDS, type="array", examples=KINDS, title="Kinds of files"),
        "first_day": Param(None, **DAY, title="First UTC day"),
        "last_day": Param(None, **DAY, title="Last UTC day, inclusive"),
        "again": Param(False, type="boolean", title="Finished days too"),
        "allowed_minutes": Param(
            0, type="integer", minimum=0, maximum=1440, title="Minutes that may differ from klines"
        ),
    },
)
def backfill_history() -> None:
    """Wire the tasks."""

    @task(execution_timeout=timedelta(minutes=5))
    def find_days() -> list[dict[str, Any]]:
        from datetime import UTC, datetime

        from market_ops.backfill import run
        from market_ops.clients import bigquery_client
        from market_ops.settings import read_settings

        asked = get_current_context()["params"]
        names = ("symbols", "kinds", "first_day", "last_day", "again")
        try:
            return run.days_to_do(
                bigquery_client(read_settings()),
                datetime.now(UTC).date(),
                **{name: asked[name] for name in names},
            )
        except run.WrongRange as error:
            raise AirflowFailException(str(error)) from error

    # Two at a time: one downloads and parses while the other one waits for BigQuery.
    @task(
        outlets=[RAW],
        max_active_tis_per_dag=2,
        map_index_template="{{ name }}",
        execution_timeout=timedelta(hours=1),
    )
    def backfill(day: dict[str, Any]) -> dict[str, Any]:
        from market_ops.backfill import run
        from market_ops.settings import read_settings

        context = get_current_context()
        context["name"] = f"{day['symbol']} {day['day']}"
        try:
            figures = run.backfill(read_settings(), day, context["params"]["allowed_minutes"])
        except run.Unusable as error:
            raise AirflowFailException(str(error)) from error  # no retry can mend it
        context["outlet_events"][RAW].extra = figures
        return figures

    backfill.expand(day=find_days())


backfill_history()
