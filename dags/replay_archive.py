"""Rebuilds raw tables from the archive, and proves that they hold what it holds.

### What

By hand, for UTC hours of arrival. `replay` runs the Beam job `beam_jobs.replay_archive`: it reads
the raw objects of the hours, each held against its manifest, compares control totals of every frame
and symbol with what `raw.*` has, appends the rows that are missing and compares again. Where
nothing is missing nothing is appended, so it may run at any time and twice. With `tables` it
rebuilds all tables in a dataset of that name instead. `prove` judges the proof that the job leaves.
`docs/replay.md` has the rest.

### Inputs and outputs

Reads `raw/` of the bucket and `raw.*`, `ops.frames`; appends to `raw.*`, `ops.frame_symbols` and
`ops.frames` (asset `raw`). The next `build_marts` builds anew what was touched. The proof, JSON
with count, sum of ids and quantities by symbol, is written below `replays/` of the bucket.

### When it fails

`replay` fails when the job could not run to its end: its log has the job's. Clear it; what was
appended is not appended again. `prove` names objects that are corrupt or gone, symbols that differ
and frames without an object: the rest was replayed. Restore the objects from the bucket's earlier
versions and run it again, or have the ids repaired (`repair_gaps`).

### Owner

market-data
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from market_ops.archive.replay_job import ReplayJob
from market_ops.assets import RAW
from market_ops.defaults import DEFAULT_ARGS, START

HOUR = r"^\d{4}-\d{2}-\d{2}T\d{2}$"
CHANNELS = ["trade", "aggTrade", "kline", "bookTicker", "exchangeInfo", "hole"]


@dag(
    schedule=None,
    start_date=START,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=DEFAULT_ARGS,
    tags=["archive", "repair", "manual"],
    doc_md=__doc__,
    params={
        "first": Param(
            type="string",
            pattern=HOUR,
            description="first UTC hour of arrival, as 2026-03-01T17",
        ),
        "last": Param(
            type="string",
            pattern=HOUR,
            description="last UTC hour of arrival, included",
        ),
        "channels": Param(CHANNELS, type="array", examples=CHANNELS, minItems=1),
        "symbols": Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            description="symbols as BTCUSDT, one a line; empty for all",
        ),
        "tables": Param(
            None,
            type=["null", "string"],
            pattern=r"^([A-Za-z]\w{0,99})?$",
            description="dataset to rebuild the tables in; empty to replay in place",
        ),
    },
)
def replay_archive() -> None:
    """Wire the tasks."""

    @task(outlets=[RAW])
    def prove(name: str) -> dict[str, Any]:
        from market_ops.archive.replay import NotProven, judge, read_proof
        from market_ops.clients import archive_bucket
        from market_ops.settings import read_settings

        settings = read_settings()
        address = f"{settings.bucket_url}/{settings.bucket}/{name}"
        try:
            figures = judge(read_proof(archive_bucket(settings), name), address)
        except NotProven as error:
            raise AirflowFailException(str(error)) from error  # no retry can mend it
        get_current_context()["outlet_events"][RAW].extra = figures
        return figures

    prove(ReplayJob(task_id="replay", execution_timeout=timedelta(hours=6)).output)


replay_archive()
