"""Ledger: open holes, loaded frames and the record `ops.holes`, in BigQuery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from .. import warehouse
from ..warehouse import ask_if_there
from .frames import CHANNEL, COLLECTOR
from .holes import Attempt, Hole

if TYPE_CHECKING:
    from google.cloud import bigquery

TABLE: Final = "ops.holes"
# Frames overtake each other by seconds; an id that is missing for so long does not come by itself.
SETTLED: Final = timedelta(minutes=5)
_HOLES: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Record:
    """A row of `ops.holes`, where columns are explained; no frame carries it."""

    run_id: str
    market: str
    channel: str = CHANNEL
    symbol: str
    first_missing_id: int
    last_missing_id: int
    missing: int
    found_at: datetime
    closed_at: datetime | None
    outcome: str
    cause: str = "unknown"
    source: str
    witnesses: str
    frames: str
    detail: str
    received_at: datetime
    collector: str = COLLECTOR
    frame_id: str = ""
    loaded_at: datetime


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
    rows = ask_if_there(client, sql, {"settled": now - SETTLED, "holes": _HOLES})
    return [Hole(**row) for row in rows]


def attempts(client: bigquery.Client, now: datetime) -> list[Attempt]:
    """Return what collectors and earlier runs did, but for healings that are over.

    The marts know those; what a collector has handed over was not tried yet.
    """
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
        and outcome != 'handed_over'
        and market = 'spot'
        and channel = 'trade'
    """
    return [Attempt(**row) for row in ask_if_there(client, sql, {"now": now})]


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
    rows = ask_if_there(client, sql, {"since": since, "frames": list(frame_ids)})
    return {row["frame_id"]: (row["rows_loaded"], row["lines_rejected"]) for row in rows}


def append(client: bigquery.Client, records: Iterable[Record]) -> None:
    """Append records to `ops.holes`: one load job, so all rows or none.

    Raises:
        google.api_core.exceptions.GoogleAPIError: the table is missing or refuses them.
    """
    warehouse.append(client, TABLE, map(asdict, records))
