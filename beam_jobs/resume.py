"""Resume: put the subscription back before the first frame that may not be durable.

Needed on DirectRunner only, which acknowledges messages when it reads them. The subscription must
keep acknowledged messages (`retain_acked_messages`). A seek to a time also acknowledges what was
published before and was never read, so the time must be early enough for that as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.api_core.exceptions import NotFound
from google.cloud import bigquery, pubsub_v1, storage

from beam_jobs.archive import UPLOAD_SECONDS, ArchiveKey, storage_client
from beam_jobs.durable import LoadedFrame, doubts
from beam_jobs.read_archive import MANIFEST
from beam_jobs.tables import bigquery_client
from market_data.frames import FrameKey
from market_data.tables import FRAMES

log = logging.getLogger(__name__)

SECONDS: Final = 30.0
# Every retained message lies behind it.
_BEGINNING: Final = datetime(2017, 1, 1, tzinfo=UTC)
# Manifests are small, what takes time is asking.
_DOWNLOADS: Final = 16

# Entries of a replay or a backfill have not passed Pub/Sub: both of their times are the same.
_NEWEST: Final = """
select max(published_at) as newest from `{frames}` where published_at != closed_at
"""
_LOADED: Final = """
select frame.collector, frame.epoch, frame.sequence, frame.market, frame.channel,
  min(frame.closed_at) as closed_at, max(frame.published_at) as published_at
from `{frames}` as frame
inner join (
  select collector, epoch, min(sequence) - 1 as before from `{frames}`
  where published_at != closed_at and published_at >= timestamp '{since}'
  group by collector, epoch
) as life on frame.collector = life.collector and frame.epoch = life.epoch
where frame.sequence >= life.before
group by frame.collector, frame.epoch, frame.sequence, frame.market, frame.channel
"""


def seek_back(project: str, subscription: str, bucket: str, margin_seconds: int) -> datetime:
    """Seek the subscription to a time before which everything is in the table and the archive.

    That is `margin_seconds` before the newest loaded frame was published; earlier when a frame
    before is missing in `ops.frames` or in the archive's manifests. The margin covers what a life
    of a collector published after its last loaded frame, and clocks that differ. Without a loaded
    frame everything retained is read again.

    Returns:
        The time that the subscription was put to.
    """
    margin = timedelta(seconds=margin_seconds)
    with pubsub_v1.SubscriberClient() as subscriber:
        known = subscriber.get_subscription(subscription=subscription, timeout=SECONDS)
        found = _durable_until(project, bucket, known.message_retention_duration)
        time = _BEGINNING if found is None else max(_BEGINNING, found - margin)
        subscriber.seek(request={"subscription": subscription, "time": time}, timeout=SECONDS)
    log.info("reading messages published since %s", time.isoformat())
    return time


def _durable_until(project: str, bucket: str, retention: timedelta) -> datetime | None:
    """Return until when all published frames are durable, None when none is loaded."""
    client = bigquery_client(project)
    try:
        ((newest,),) = _ask(client, _NEWEST)
        if newest is None:
            return None
        since = newest - retention
        rows = _ask(client, _LOADED.replace("{since}", since.isoformat()))
    finally:
        client.close()
    hours = {
        ArchiveKey(row.market, row.channel, f"{row.closed_at:%Y-%m-%dT%H}", shard=0) for row in rows
    }
    archived = _archived(storage_client(project), bucket, hours)
    frames = (
        LoadedFrame(row.collector, row.epoch, row.sequence, row.closed_at, row.published_at)
        for row in rows
    )
    until: datetime = newest
    for doubt in doubts(frames, archived, since):
        log.info("not known to be in table and archive: frame %s/%d/%d", *doubt.key)
        until = min(until, doubt.published_after)
    return until


def _ask(client: bigquery.Client, sql: str) -> list[bigquery.Row]:
    text = sql.replace("{frames}", f"{client.project}.{FRAMES.full_name}")
    return list(client.query_and_wait(text, wait_timeout=SECONDS))


def _archived(client: storage.Client, bucket: str, hours: Iterable[ArchiveKey]) -> set[FrameKey]:
    """Return the frames that the manifests of these hours name."""
    manifests = [
        blob
        for hour in sorted(hours)
        for blob in client.list_blobs(bucket, prefix=f"{hour.folder}/", timeout=UPLOAD_SECONDS)
        if blob.name.endswith(MANIFEST)
    ]
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        return {
            (frame["collector"], frame["epoch"], frame["sequence"])
            for frames in pool.map(_frames_of, manifests)
            for frame in frames
        }


def _frames_of(manifest: storage.Blob) -> list[dict[str, Any]]:
    """Return the frames that a manifest names; none when it was removed meanwhile."""
    try:
        found: dict[str, Any] = json.loads(manifest.download_as_bytes(timeout=UPLOAD_SECONDS))
    except NotFound:
        return []
    return list(found["frames"])
