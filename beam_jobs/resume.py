"""Resume: put the subscription back before the last frame that is known to be loaded.

Needed on DirectRunner only, which acknowledges messages when it reads them. The subscription must
keep acknowledged messages (`retain_acked_messages`).
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from google.cloud import bigquery, pubsub_v1

from beam_jobs.tables import bigquery_client
from market_data.tables import FRAMES

log = logging.getLogger(__name__)

SECONDS: Final = 30.0
# Every retained message lies behind it.
_BEGINNING: Final = datetime(2017, 1, 1, tzinfo=UTC)


def seek_back(project: str, subscription: str, margin_seconds: int) -> datetime:
    """Seek the subscription to `margin_seconds` before the last loaded frame was published.

    The margin covers what may have been in flight when the job died: open bundles and the
    archive's gathering time. Without a loaded frame everything retained is read again.

    Returns:
        The time that the subscription was put to.
    """
    last = last_published_at(project)
    time = _BEGINNING if last is None else last - timedelta(seconds=margin_seconds)
    with pubsub_v1.SubscriberClient() as subscriber:
        subscriber.seek(request={"subscription": subscription, "time": time}, timeout=SECONDS)
    log.info("reading messages published since %s", time.isoformat())
    return time


def last_published_at(project: str) -> datetime | None:
    """Return the newest publish time in the ledger, None when it is empty."""
    client = bigquery_client(project)
    try:
        rows = client.query_and_wait(
            f"select max(published_at) as last from `{project}.{FRAMES.full_name}`",  # noqa: S608 # names from our own schema
            job_config=bigquery.QueryJobConfig(),
            wait_timeout=SECONDS,
        )
        last: datetime | None = next(iter(rows)).last
        return last
    finally:
        client.close()
