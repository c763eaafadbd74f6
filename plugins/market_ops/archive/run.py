"""What the DAG `compact_archive` does: the archive's functions under the settings and the clock."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ..clients import archive_bucket
from ..settings import read_settings
from .compact import CompactionError, Hour, compact_hour
from .raw import CorruptObject
from .rows import ConflictingTrades
from .storage import BucketStore
from .upkeep import (
    figures,
    forget_failure,
    hours_to_compact,
    in_turn,
    note_failure,
    parse_hour,
    waiting,
)
from .upkeep import remove_old as remove

logger = logging.getLogger(__name__)

MARKET: Final = "spot"
# What a repetition cannot mend.
Unusable = (CorruptObject, ConflictingTrades, CompactionError)


def find_hours(first: str | None, last: str | None, most: int) -> list[str]:
    """Return the hours to compact: oldest first, those that failed before behind the others.

    Args:
        first: no hour before this one, as 2026-03-01T17; None or empty for no limit.
        last: no hour behind this one.
        most: number of hours at most; the next run takes what is left.
    """
    between = {
        name: parse_hour(text, f"{name}_hour") if text else None
        for name, text in (("first", first), ("last", last))
    }
    store = _store()
    found = in_turn(store, hours_to_compact(store, MARKET, datetime.now(UTC), **between))
    logger.info("%d hours have raw objects to compact, this run takes %d", len(found), most)
    return [f"{hour.start:%Y-%m-%dT%H}" for hour in found[:most]]


def compact(text: str) -> dict[str, Any]:
    """Compact an hour of arrival and return its figures.

    Raises:
        CorruptObject, ConflictingTrades, CompactionError: nothing may be removed.
    """
    hour, store = _hour(text), _store()
    try:
        compact_hour(store, hour, max_rows=read_settings().compaction_rows)
    except Unusable as error:
        note_failure(store, hour, error)
        raise
    forget_failure(store, hour)
    made = figures(store, hour)
    logger.info("compacted %s", made)
    return made


def remove_old(hours: list[str] | None) -> dict[str, Any]:
    """Remove what is old and proven.

    Args:
        hours: what this run should have compacted; None when it could not be found out.

    Raises:
        CompactionError: some of them still wait, or `hours` is None.
    """
    store, retention = _store(), timedelta(days=read_settings().retention_days)
    done = remove(store, MARKET, datetime.now(UTC), retention)
    logger.info("removed %d raw and %d replaced objects", done.raw, done.replaced)
    for name in done.unproven:
        logger.warning("%s: is old, and stays: no compacted object is proven to hold it all", name)
    if hours is None:
        raise CompactionError("hours: the task `find_hours` found none; its log says why")
    left = [hour for hour in hours if waiting(store, _hour(hour))]
    if left:
        raise CompactionError(
            f"{', '.join(left)}: raw objects wait for compaction; nothing of them was removed; "
            "the log of the hour's task `compact` names the object and the remedy"
        )
    return {"raw": done.raw, "replaced": done.replaced, "unproven": len(done.unproven)}


def _store() -> BucketStore:
    return BucketStore(archive_bucket(read_settings()))


def _hour(text: str) -> Hour:
    return Hour(MARKET, parse_hour(text, "hour"))
