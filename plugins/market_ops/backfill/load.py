"""Load: a staged day through the bucket and a staging table into its raw table, as one frame.

Safe to repeat and to be killed anywhere: the swap is one statement that replaces exactly the rows
of the frame, and the ledger's entry comes last. A day without an entry in `ops.frames` is not done.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ..warehouse import ask
from .stage import Staged
from .tables import CHANNELS, IDS, MARKET, SOURCE, TABLES, TIMES, Day, columns

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

logger = logging.getLogger(__name__)

FOLDER: Final = "backfill/staging"
# A staging table that a killed task left goes by itself.
STAGING_LIFE: Final = timedelta(days=1)
_CLUSTERS: Final = {
    "frames": ("collector", "epoch"),
    "frame_symbols": ("market", "channel", "symbol"),
}
_SECONDS: Final = 60.0
_JOB_SECONDS: Final = 900.0


class StagingDiffers(Exception):
    """BigQuery does not hold what was staged; nothing was swapped in."""


def finished(client: bigquery.Client, units: Sequence[Day]) -> set[str]:
    """Return the frames of these units that are in the ledger."""
    if not units:
        return set()
    rows = ask(
        client,
        """
        select distinct frame_id
        from `{project}`.ops.frames
        where
            loaded_at >= timestamp '2017-01-01'
            and collector in unnest(@collectors) and frame_id in unnest(@frames)
        """,
        {
            "collectors": sorted({unit.collector for unit in units}),
            "frames": [unit.frame_id for unit in units],
        },
    )
    return {row["frame_id"] for row in rows}


def load(client: bigquery.Client, bucket: storage.Bucket, staged: Staged) -> None:
    """Load a staged day and enter it into the ledger.

    Raises:
        StagingDiffers: the staging table has other control totals than the file.
        google.api_core.exceptions.GoogleAPIError: BigQuery or the bucket refuses something.
    """
    name = f"{staged.unit.kind}_{hashlib.sha256(staged.unit.frame_id.encode()).hexdigest()[:16]}"
    blob = bucket.blob(f"{FOLDER}/{name}.parquet")
    table = f"{client.project}.ops.backfill_{name}"
    try:
        if staged.totals.rows:
            blob.upload_from_filename(str(staged.path), timeout=_JOB_SECONDS)
            _stage(client, table, staged.unit, f"gs://{bucket.name}/{blob.name}")
            _compare(client, table, staged)
        _swap(client, table, staged)
        _enter(client, staged, datetime.now(UTC))
    finally:
        client.delete_table(table, timeout=_SECONDS, retry=None, not_found_ok=True)
        if staged.totals.rows and blob.exists(timeout=_SECONDS, retry=None):
            blob.delete(timeout=_SECONDS, retry=None)


def _stage(client: bigquery.Client, table: str, unit: Day, uri: str) -> None:
    from google.cloud import bigquery

    raw = f"{client.project}.raw.{TABLES[unit.kind]}"
    schema = client.get_table(raw, timeout=_SECONDS, retry=None).schema
    # A table that an earlier attempt left would be appended to by nobody, and is replaced.
    client.delete_table(table, timeout=_SECONDS, retry=None, not_found_ok=True)
    made = bigquery.Table(table, schema=schema)
    made.expires = datetime.now(UTC) + STAGING_LIFE
    client.create_table(made, timeout=_SECONDS, retry=None)
    job = client.load_table_from_uri(
        uri,
        table,
        job_config=bigquery.LoadJobConfig(
            schema=schema,
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
        ),
        timeout=_SECONDS,
        retry=None,
    )
    job.result(timeout=_JOB_SECONDS, retry=None)


def _compare(client: bigquery.Client, table: str, staged: Staged) -> None:
    kind, totals = staged.unit.kind, staged.totals
    quantity = "volume" if kind == "klines" else "quantity"
    identity = f"unix_micros({IDS[kind]})" if kind == "klines" else IDS[kind]
    (row,) = ask(
        client,
        f"""
        select
            count(*) as row_count,
            sum({identity}) as sum_ids,
            sum({quantity}) as sum_quantity
        from `{table}`
        """,  # noqa: S608 - names of ours
    )
    found = (row["row_count"], Decimal(row["sum_ids"]), Decimal(row["sum_quantity"]))
    expected = (totals.rows, Decimal(totals.sum_ids), totals.sum_quantity)
    if found != expected:
        raise StagingDiffers(
            f"{staged.unit.frame_id}: rows, sum of ids and of quantity are {found} in BigQuery,"
            f" {expected} in the file; nothing was swapped in. Clear the task"
        )


def _swap(client: bigquery.Client, staging: str, staged: Staged) -> None:
    """Replace the frame's rows by the staged ones, in one statement."""
    unit = staged.unit
    raw, time = f"`{client.project}`.raw.{TABLES[unit.kind]}", TIMES[unit.kind]
    names = columns(unit.kind)
    where = f"""
        {time} >= @start and {time} < @end and market = @market and symbol = @symbol
        and frame_id = @frame
    """
    parameters = {
        "start": unit.start,
        "end": unit.start + timedelta(days=1),
        "market": MARKET,
        "symbol": unit.symbol,
        "frame": unit.frame_id,
    }
    if not staged.totals.rows:
        ask(client, f"delete from {raw} where {where}", parameters)  # noqa: S608
        return
    # One row more than the staged ones finds those that go: a join by equality, which no engine
    # does row against row.
    sql = f"""
    merge into {raw} as target
    using (
        select *, cast(null as string) as replaced from `{staging}`
        union all
        (select *, @frame as replaced from `{staging}` limit 1)
    ) as new
    on
        target.{time} >= @start and target.{time} < @end
        and target.market = @market and target.symbol = @symbol
        and target.frame_id = new.replaced
    when matched then delete
    when not matched and new.replaced is null
        then insert ({", ".join(names)}) values ({", ".join(names)})
    """  # noqa: S608 - names of ours
    ask(client, sql, parameters, seconds=_JOB_SECONDS)


def _enter(client: bigquery.Client, staged: Staged, loaded_at: datetime) -> None:
    """Replace the frame's entries in the ledger: of its symbol first, its own last."""
    unit, totals = staged.unit, staged.totals
    is_trades = unit.kind == "trades"
    shared: dict[str, Any] = {
        "frame_id": unit.frame_id,
        "market": MARKET,
        "channel": CHANNELS[unit.kind],
        "loaded_at": loaded_at,
        "sum_ids": Decimal(totals.sum_ids),
        "sum_quantity": totals.sum_quantity if is_trades else None,
        "sum_quote_quantity": totals.sum_quote_quantity if is_trades else None,
    }
    symbol = shared | {
        "symbol": unit.symbol,
        "first_id": totals.first_id,
        "last_id": totals.last_id,
        "first_at": totals.first_at,
        "last_at": totals.last_at,
        "count": totals.rows,
    }
    frame = shared | {
        "collector": unit.collector,
        "epoch": unit.epoch,
        "sequence": 1,
        "source": SOURCE,
        "header_lines": staged.lines,
        "lines": staged.lines,
        "loaded_rows": totals.rows,
        "ignored_lines": staged.invalidated,
        "rejected_lines": 0,
        "body_bytes": staged.csv_bytes,
        "message_bytes": staged.zip_bytes,
        "opened_at": staged.received_at,
        "closed_at": staged.received_at,
        "published_at": staged.received_at,
    }
    entries = [*([("frame_symbols", symbol)] if totals.rows else []), ("frames", frame)]
    for table, row in entries:
        names = ", ".join(f"`{name}`" for name in row)
        values = ", ".join(f"@{name}" for name in row)
        # One statement each: a reader sees the old entry or the new one. Tables are clustered by
        # these columns, so that it looks at little of them.
        same = " and ".join(f"target.{name} = @{name}" for name in _CLUSTERS[table])
        sql = f"""
        merge into `{client.project}`.ops.{table} as target
        using (select is_new from unnest([true, false]) as is_new) as new
        on
            target.loaded_at >= timestamp '2017-01-01' and {same}
            and target.frame_id = if(new.is_new, null, @frame_id)
        when matched then delete
        when not matched and new.is_new then insert ({names}) values ({values})
        """  # noqa: S608 - names of ours
        ask(client, sql, row)
    logger.info("%s: %d rows are in raw.%s", unit.frame_id, totals.rows, TABLES[unit.kind])
