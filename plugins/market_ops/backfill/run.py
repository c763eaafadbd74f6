"""What the DAG `backfill_history` does: which days are left, and one symbol's day at a time."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from ..clients import archive_bucket, bigquery_client
from ..settings import Settings
from .load import finished, load
from .minutes import Differs
from .rows import Mangled
from .stage import KINDS, Stager
from .tables import Day
from .vision import ChecksumMismatch, NotPublished, Vision

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

logger = logging.getLogger(__name__)

# Airflow maps a task over 1,024 things at most; what is left is the next run's.
MAX_DAYS: Final = 500
# What a repetition cannot mend.
Unusable = (Differs, Mangled, ChecksumMismatch, NotPublished)

Json = dict[str, Any]


class WrongRange(Exception):
    """What was asked for makes no sense; names it and the remedy."""


def days_to_do(
    client: bigquery.Client,
    today: date,
    *,
    symbols: Sequence[str],
    kinds: Sequence[str],
    first_day: str,
    last_day: str,
    again: bool,
) -> list[Json]:
    """Return the symbols' days that are not finished, newest first, with the kinds to load.

    Args:
        client: of the project with `ops.frames`.
        today: the UTC day; its files are not published yet.
        symbols: symbols as Binance spells them.
        kinds: of `KINDS`.
        first_day: as 2026-03-01.
        last_day: inclusive.
        again: finished days too.

    Raises:
        WrongRange: no symbol, no kind, or the days are none.
    """
    days = _days(first_day, last_day, today)
    names = [name.strip().upper() for name in symbols if name.strip()]
    if not names or not kinds or not set(kinds) <= set(KINDS):
        raise WrongRange(
            f"symbols, kinds: expected at least one symbol and some of {', '.join(KINDS)},"
            f" was {', '.join(names) or 'no symbol'} and {', '.join(kinds) or 'no kind'}"
        )
    units = [Day(name, kind, day) for day in reversed(days) for name in names for kind in kinds]
    done = set() if again else finished(client, units)
    left: dict[tuple[str, date], list[str]] = {}
    for unit in units:
        if unit.frame_id not in done:
            left.setdefault((unit.symbol, unit.day), []).append(unit.kind)
    logger.info("%d of %d files are finished", len(done), len(units))
    if len(left) > MAX_DAYS:
        logger.warning("%d days are left, this run takes %d: run it again", len(left), MAX_DAYS)
    return [
        {"symbol": symbol, "day": day.isoformat(), "kinds": wanted}
        for (symbol, day), wanted in left.items()
    ][:MAX_DAYS]


def _days(first: str, last: str, today: date) -> list[date]:
    try:
        start, end = date.fromisoformat(first), date.fromisoformat(last)
    except (TypeError, ValueError):
        raise WrongRange(
            f"first_day, last_day: expected days as 2026-03-01, was {first!r} and {last!r}"
        ) from None
    if not start <= end < today:
        raise WrongRange(
            f"first_day, last_day: expected days in order that are over, was {first} to {last};"
            f" today is {today}"
        )
    return [start + timedelta(days=number) for number in range((end - start).days + 1)]


def backfill(settings: Settings, asked: Json, allowed_minutes: int) -> Json:
    """Load the kinds of a symbol's day under the settings and return its figures."""
    client, bucket = bigquery_client(settings), archive_bucket(settings)
    return load_day(client, bucket, settings.vision_url, asked, allowed_minutes)


def load_day(
    client: bigquery.Client,
    bucket: storage.Bucket,
    vision_url: str,
    asked: Json,
    allowed_minutes: int,
) -> Json:
    """Load the kinds of a symbol's day and return its figures.

    Args:
        client: of the project with the raw tables.
        bucket: that files are loaded through.
        vision_url: base address of the archive.
        asked: one of what `days_to_do` returned.
        allowed_minutes: so many minutes may differ from the klines.

    Raises:
        Differs, Mangled, VisionError: the archive's files can't be used; nothing was loaded.
        StagingDiffers: BigQuery holds something else than was staged.
    """
    began = time.monotonic()
    figures: Json = {"symbol": asked["symbol"], "day": asked["day"], "kinds": {}}
    with tempfile.TemporaryDirectory() as folder, httpx.Client(follow_redirects=True) as http:
        stager = Stager(
            vision=Vision(vision_url, http),
            symbol=asked["symbol"],
            day=date.fromisoformat(asked["day"]),
            folder=Path(folder),
            received_at=datetime.now(UTC),
            allowed=allowed_minutes,
        )
        # All kinds are checked before the first one is loaded.
        for staged in list(stager.stage(asked["kinds"])):
            load(client, bucket, staged)
            figures["kinds"][staged.unit.kind] = {
                "rows": staged.totals.rows,
                "invalidated": staged.invalidated,
                "differing_minutes": staged.differing_minutes,
                "sha256": staged.sha256,
            }
    figures["milliseconds"] = round((time.monotonic() - began) * 1000)
    logger.info("%s", figures)
    return figures
