"""Makes the report of a day: asks the warehouse, stores page and JSON, sends the mail."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from .. import warehouse
from . import queries
from .document import make_document
from .facts import (
    Check,
    Compared,
    Completeness,
    Difference,
    Facts,
    Healed,
    Hole,
    Latency,
    Rejected,
    Repair,
    Silent,
    Volume,
)
from .queries import Query
from .render import render_mail, render_page, subject
from .verdict import judge

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

    from ..settings import Settings

logger = logging.getLogger(__name__)

FOLDER: Final = "reports/quality"
LATEST: Final = f"{FOLDER}/latest.html"
QUERY_SECONDS: Final = 120.0
OBJECT_SECONDS: Final = 60.0
CONNECTION: Final = "smtp_default"
_CHECKS: Final = "ops.quality_results"
_REPAIRS: Final = "ops.holes"
_DAY: Final = "day"

Row = TypeVar("Row")


def day_of(asked: str | None, now: datetime) -> date:
    """Return the day that is to be reported on.

    Args:
        asked: a UTC day as 2026-03-01, "today", or nothing for the day that ended last.
        now: aware, UTC.

    Raises:
        ValueError: there is no such day, or it has not begun.
    """
    if not asked:
        return now.date() - timedelta(days=1)
    if asked == "today":
        return now.date()
    try:
        day = date.fromisoformat(asked)
    except ValueError:
        raise ValueError(f"day: expected a date as 2026-03-01 or today, was {asked!r}") from None
    if day > now.date():
        raise ValueError(f"day: {day} has not begun; choose one up to {now.date()}")
    return day


def has_begun(client: bigquery.Client, day: date) -> bool:
    """Tell whether the marts have a trade of the day or of one before it.

    A day without any, after others, is a loss that must be told; a day before the first one is
    none of the platform's.
    """
    rows = warehouse.ask_if_there(
        client,
        "select traded_on from `{project}`.marts.market_completeness"
        " where traded_on <= @day limit 1",
        {"day": day},
    )
    if not rows:
        logger.info("%s: no data of this day, nor of any before it; there is no report", day)
    return bool(rows)


def make_report(
    client: bigquery.Client, bucket: storage.Bucket, settings: Settings, day: date, now: datetime
) -> dict[str, Any]:
    """Make the report of a day and store it; made again, it replaces what it had stored.

    Returns:
        `day`, `verdict`, `why`, `page` and `json` (links), as plain values for the next task.

    Raises:
        google.api_core.exceptions.GoogleAPIError: a mart is missing or does not answer in time.
    """
    asked = {query.name: query for query in (make(day) for make in queries.ALL)}
    facts = read_facts(client, day, asked)
    document = make_document(facts, judge(facts, now), asked, client.project, now)
    links = links_of(settings, day)
    store(bucket, day, document, render_page(document, links))
    verdict = document["verdict"]
    logger.info("%s %s: %s\n%s", day, verdict["word"], verdict["why"], links["page"])
    return {"day": document["day"], "verdict": verdict["word"], "why": verdict["why"]} | {
        name: links[name] for name in ("page", "json")
    }


def read_facts(client: bigquery.Client, day: date, asked: Mapping[str, Query]) -> Facts:
    """Ask all queries of a day."""

    def rows(name: str, kind: type[Row]) -> tuple[Row, ...]:
        return tuple(kind(**row) for row in ask(client, asked[name]))

    return Facts(
        day=day,
        completeness=rows("completeness", Completeness),
        silent=rows("silent", Silent),
        holes=rows("holes", Hole),
        repairs=rows("repairs", Repair) if _has(client, _REPAIRS) else None,
        healed=rows("healed", Healed),
        reconciliation=rows("reconciliation", Compared),
        differences=rows("differences", Difference),
        latency=rows("latency", Latency),
        rejections=rows("rejections", Rejected),
        checks=rows("checks", Check) if _has(client, _CHECKS) else None,
        volumes=rows("volumes", Volume),
    )


def ask(client: bigquery.Client, query: Query) -> list[dict[str, Any]]:
    """Return the rows of a query, within `QUERY_SECONDS` and without a second try."""
    return warehouse.ask(client, query.sql, query.parameters, seconds=QUERY_SECONDS)


def _has(client: bigquery.Client, table: str) -> bool:
    from google.api_core.exceptions import NotFound

    try:
        client.get_table(f"{client.project}.{table}", timeout=QUERY_SECONDS, retry=None)
    except NotFound:
        return False
    return True


def name_of(day: date, suffix: str) -> str:
    """Return the name of a day's object."""
    return f"{FOLDER}/dt={day.isoformat()}/report.{suffix}"


def links_of(settings: Settings, day: date) -> dict[str, str]:
    """Return where people find page and JSON of a day, and the DAG."""
    base = f"{settings.bucket_url.rstrip('/')}/{settings.bucket}"
    return {
        "page": f"{base}/{quote(name_of(day, 'html'), safe='/=')}",
        "json": f"{base}/{quote(name_of(day, 'json'), safe='/=')}",
        "airflow": f"{settings.page_url.rstrip('/')}/dags/report_quality",
    }


def store(bucket: storage.Bucket, day: date, document: dict[str, Any], page: str) -> None:
    """Write page and JSON of a day, and the page as the latest one unless that is of a later day.

    JSON goes first: a page leads to it.
    """
    text = json.dumps(document, ensure_ascii=False, indent=1)
    _write(bucket, name_of(day, "json"), day, text, "application/json; charset=utf-8")
    _write(bucket, name_of(day, "html"), day, page, "text/html; charset=utf-8")
    latest = bucket.get_blob(LATEST, timeout=OBJECT_SECONDS, retry=None)
    # ISO days are ordered as texts are.
    if latest is None or (latest.metadata or {}).get(_DAY, "") <= day.isoformat():
        _write(bucket, LATEST, day, page, "text/html; charset=utf-8")


def _write(bucket: storage.Bucket, name: str, day: date, text: str, kind: str) -> None:
    blob = bucket.blob(name)
    blob.metadata = {_DAY: day.isoformat()}
    # A report may be made again: what a reader sees is never an hour old copy.
    blob.cache_control = "no-cache"
    blob.upload_from_string(text.encode(), content_type=kind, timeout=OBJECT_SECONDS, retry=None)


def send_report(bucket: storage.Bucket, settings: Settings, day: date) -> list[str]:
    """Send the stored report of a day by mail, through Airflow's connection `smtp_default`.

    Returns:
        The addresses; none when the settings have none, and nothing is sent.
    """
    addresses = list(settings.alerts.get("mail") or ())
    if not addresses:
        return []
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    blob = bucket.blob(name_of(day, "json"))
    document = json.loads(blob.download_as_bytes(timeout=OBJECT_SECONDS, retry=None))
    with SmtpHook(CONNECTION) as hook:
        hook.send_email_smtp(
            to=addresses,
            subject=subject(document),
            html_content=render_mail(document, links_of(settings, day)),
        )
    return addresses
