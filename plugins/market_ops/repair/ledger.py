"""Ledger: open holes, loaded frames and the record `ops.holes`, in BigQuery."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from .holes import Attempt, Hole

if TYPE_CHECKING:
    from google.cloud import bigquery

TABLE: Final = "ops.holes"
# Frames overtake each other by seconds; an id that is missing for so long does not come by itself.
SETTLED: Final = timedelta(minutes=5)
_TIMEOUT_SECONDS: Final = 60.0
_HOLES: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Record:
    """A row of `ops.holes`, where columns are explained."""

    run_id: str
    market: str
    symbol: str
    first_missing_id: int
    last_missing_id: int
    missing: int
    found_at: datetime
    closed_at: datetime | None
    outcome: str
    source: str
    witnesses: str
    frames: str
    detail: str


def open_holes(client: bigquery.Client, now: datetime) -> list[Hole]:
    """Return the holes that the marts show, the newest ones first, without unpublished ids.

    None when the marts were never built. A hole counts when it is five minutes old.
    """
    sql = """
    select
        symbol,
        first_missing_id as first_id,
        last_missing_id as last_id,
        previous_traded_at as before,
        next_traded_at as after
    from `{project}`.intermediate.int_id_holes
    where not is_unpublished and market = 'spot' and next_traded_at < @settled
    order by next_traded_at desc
    limit @holes
    """
    rows = _query(client, sql, {"settled": now - SETTLED, "holes": _HOLES})
    return [Hole(**row) for row in rows]


def attempts(client: bigquery.Client, now: datetime) -> list[Attempt]:
    """Return what earlier runs did, but for healings that are over: the marts know those."""
    sql = """
    select
        symbol,
        first_missing_id as first_id,
        last_missing_id as last_id,
        outcome,
        found_at
    from `{project}`.ops.holes
    where
        found_at >= timestamp '2017-01-01'
        and (outcome != 'healed' or found_at >= timestamp_sub(@now, interval 1 day))
        and market = 'spot'
    """
    return [Attempt(**row) for row in _query(client, sql, {"now": now})]


def loaded(
    client: bigquery.Client, frame_ids: Sequence[str], since: datetime
) -> dict[str, tuple[int, int]]:
    """Return the frames that are in the ledger: rows loaded and lines rejected, by frame id.

    Args:
        client: of the project with `ops.frames`.
        frame_ids: the frames to look for.
        since: when they were published, at the earliest.
    """
    sql = """
    select
        frame_id,
        max(loaded_rows) as rows_loaded,
        max(rejected_lines) as lines_rejected
    from `{project}`.ops.frames
    where loaded_at >= @since and frame_id in unnest(@frames)
    group by frame_id
    """
    rows = _query(client, sql, {"since": since, "frames": list(frame_ids)})
    return {row["frame_id"]: (row["rows_loaded"], row["lines_rejected"]) for row in rows}


def append(client: bigquery.Client, records: Iterable[Record]) -> None:
    """Append records to `ops.holes`: one load job, so all rows or none.

    Raises:
        google.api_core.exceptions.GoogleAPIError: the table is missing or refuses them.
    """
    from google.cloud.bigquery import LoadJobConfig, SourceFormat, WriteDisposition

    rows = "".join(json.dumps(asdict(each), default=datetime.isoformat) + "\n" for each in records)
    table = client.get_table(f"{client.project}.{TABLE}", timeout=_TIMEOUT_SECONDS, retry=None)
    job = client.load_table_from_file(
        io.BytesIO(rows.encode()),
        table.reference,
        job_config=LoadJobConfig(
            schema=table.schema,
            source_format=SourceFormat.NEWLINE_DELIMITED_JSON,
            write_disposition=WriteDisposition.WRITE_APPEND,
        ),
        timeout=_TIMEOUT_SECONDS,
    )
    job.result(timeout=_TIMEOUT_SECONDS, retry=None)


def _query(
    client: bigquery.Client, sql: str, parameters: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return a query's rows; none when the table does not exist yet."""
    from google.api_core.exceptions import NotFound
    from google.cloud import bigquery

    types = {datetime: "TIMESTAMP", int: "INT64"}
    config = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ArrayQueryParameter(name, "STRING", value)
            if isinstance(value, list)
            else bigquery.ScalarQueryParameter(name, types[type(value)], value)
            for name, value in parameters.items()
        ]
    )
    try:
        found = client.query_and_wait(
            sql.replace("{project}", client.project),
            job_config=config,
            api_timeout=_TIMEOUT_SECONDS,
            wait_timeout=_TIMEOUT_SECONDS,
            retry=None,
            job_retry=None,
        )
        return [dict(row) for row in found]
    except NotFound:
        return []
