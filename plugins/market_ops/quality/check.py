"""The check from window to verdict: run the suites, record what they found, publish Data Docs.

`check` records and publishes everything before anybody judges; `judge` is what fails a task.
"""

from __future__ import annotations

import logging
import mimetypes
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ..notify import notify
from .results import Check, QualityFailed, append, failing, line, linked, verdicts
from .runner import run_suites
from .suites import SUITES
from .window import window_of

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

    from ..settings import Settings

logger = logging.getLogger(__name__)

DOCS: Final = "quality/data_docs"
_TIMEOUT_SECONDS: Final = 60.0
# Fonts and images never change; the styles may with a version of Great Expectations.
_STATIC: Final = "static/"
_UNUSED: Final = (".gif",)


def check(
    client: bigquery.Client,
    bucket: storage.Bucket,
    settings: Settings,
    *,
    run_id: str,
    day: str | None,
    hours: int,
    names: Sequence[str],
    now: datetime | None = None,
) -> list[dict[str, Any]]:
    """Check the window and return one verdict a suite (`results.verdicts`).

    Args:
        client: of the project that holds the tables.
        bucket: for Data Docs.
        settings: `bucket_url` is the base of links, `stale_after_seconds` the limit of freshness.
        run_id: Airflow's id of the run.
        day: a UTC day as 2026-03-01; None for the last `hours`.
        hours: length of the window that ends now.
        names: of the suites to run.
        now: the time to end at; the clock's by default.

    Raises:
        QualityFailed: an expectation could not be computed; the others are recorded.
        ValueError: the day is none.
    """
    now = now or datetime.now(UTC)
    window = window_of(day, hours, now)
    stale_after = timedelta(seconds=settings.stale_after_seconds)
    suites = [suite(window, stale_after) for suite in SUITES if suite.__name__ in names]
    known = failing(client, now)
    with tempfile.TemporaryDirectory(prefix="data-docs-") as name:
        folder = Path(name)
        results, pages = run_suites(client, suites, Check(run_id, window, now), folder)
        base = f"{settings.bucket_url.rstrip('/')}/{settings.bucket}/{DOCS}"
        results = linked(results, {suite: f"{base}/{quote(page)}" for suite, page in pages.items()})
        append(client, results)
        publish(bucket, folder)
    logger.info("Data Docs: %s/index.html", base)
    for result in results:
        if not result.is_success:
            logger.log(
                logging.ERROR if result.severity == "fail" else logging.WARNING, line(result)
            )
    if unknown := [line(result) for result in results if not result.is_computed]:
        raise QualityFailed("\n".join(unknown))
    return verdicts(results, known)


def publish(bucket: storage.Bucket, folder: Path) -> None:
    """Upload the site to the bucket; pages first, so that the index never leads nowhere.

    Pages of earlier checks stay, and the results link to them; the index is the newest check's.
    Fonts, images and styles are uploaded when they are missing.
    """
    client = bucket.client
    known = {
        blob.name
        for blob in client.list_blobs(
            bucket, prefix=f"{DOCS}/{_STATIC}", timeout=_TIMEOUT_SECONDS, retry=None
        )
    }
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in sorted(paths, key=lambda path: path.name == "index.html"):
        name = f"{DOCS}/{path.relative_to(folder).as_posix()}"
        if name in known or path.suffix in _UNUSED:
            continue
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        bucket.blob(name).upload_from_filename(
            str(path), content_type=kind, timeout=_TIMEOUT_SECONDS, retry=None
        )


def judge(verdict: Mapping[str, Any]) -> None:
    """Log a suite's verdict, and tell people when something fails that held before.

    The data is checked every few minutes: what goes on failing is red, and told once.

    Raises:
        QualityFailed: a truth marked `fail` does not hold.
    """
    for warning in verdict["warned"]:
        logger.warning(warning)
    if verdict["failed"]:
        body = "\n".join([*verdict["failed"], f"see {verdict['link'] or DOCS}"])
        if verdict["is_news"]:
            notify(f"check_quality: {verdict['suite']} fails", body)
        raise QualityFailed(body)
    logger.info("%s: %d truths hold, see %s", verdict["suite"], verdict["passed"], verdict["link"])
