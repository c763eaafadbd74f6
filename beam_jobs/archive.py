"""Archive: frames become objects in Cloud Storage, each with a manifest beside it.

An object is the frames' own bytes one after another: zstd frames may be concatenated, so it is a
valid `.ndjson.zst` and nothing is unpacked, re-encoded or lost. Its name carries a digest of the
frames in it: writing the same frames again overwrites the same object, other frames never do.
The manifest is written last; an object without one is unfinished.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import apache_beam as beam
import msgspec
from apache_beam.transforms import trigger, window
from google.cloud import storage

from beam_jobs.frames import ReceivedFrame, unreadable_path
from market_data.decode import from_microseconds
from market_data.frames import FrameHeader

UPLOAD_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, order=True)
class ArchiveKey:
    """What the frames of one object share: the folder.

    Attributes:
        market: market of the exchange.
        channel: channel of all lines.
        hour: hour of the frames' last receive time, as 2026-11-22T17.
        shard: number that spreads a busy channel over workers.
    """

    market: str
    channel: str
    hour: str
    shard: int

    @property
    def folder(self) -> str:
        """Folder of the object, below the bucket."""
        date, hour = self.hour.split("T")
        return f"raw/market={self.market}/channel={self.channel}/dt={date}/hour={hour}"


@dataclass(frozen=True, slots=True)
class ArchivedFrame:
    """A frame on its way to the archive: header and the message's bytes."""

    header: FrameHeader
    data: bytes


class ArchiveFrames(beam.PTransform):
    """Gather frames by folder for some seconds and write each group as one object.

    The trigger is processing time in the global window: no frame is ever late, so none is dropped.

    Args:
        bucket: bucket of the archive.
        project: project of the storage client.
        seconds: how long frames are gathered.
        shards: groups a folder is split into.
    """

    def __init__(self, *, bucket: str, project: str, seconds: int, shards: int) -> None:
        super().__init__()
        self._bucket = bucket
        self._project = project
        self._seconds = seconds
        self._shards = shards

    def expand(self, frames: Any) -> Any:
        """Wire it: key, gather, write."""
        return (
            frames
            | "Key by folder" >> beam.Map(key_by_folder, shards=self._shards)
            | "Gather"
            >> beam.WindowInto(
                window.GlobalWindows(),
                trigger=trigger.Repeatedly(trigger.AfterProcessingTime(self._seconds)),
                accumulation_mode=trigger.AccumulationMode.DISCARDING,
            )
            | "Group by folder" >> beam.GroupByKey()
            | "Write objects" >> beam.ParDo(WriteObject(self._bucket, self._project))
        )


@functools.cache
def storage_client(project: str) -> storage.Client:
    """Return the process's client of a project."""
    return storage.Client(project=project)


class _WriteToArchive(beam.DoFn):
    """A step that writes to the archive's bucket.

    Args:
        bucket: bucket of the archive.
        project: project of the storage client.
    """

    def __init__(self, bucket: str, project: str) -> None:
        self._bucket = bucket
        self._project = project

    def setup(self) -> None:
        """Find the process's client; one serves all threads and bundles."""
        self._client = storage_client(self._project)


class WriteObject(_WriteToArchive):
    """Write a group of frames and its manifest."""

    def process(self, element: tuple[ArchiveKey, Iterable[ArchivedFrame]]) -> None:
        """Write one object, then its manifest; a trigger may fire when nothing has come."""
        key, group = element
        frames = unique_frames(group)
        if not frames:
            return
        name = object_name(key, frames)
        data = b"".join(frame.data for frame in frames)
        upload(self._client, self._bucket, name, data, "application/zstd")
        manifest = json.dumps(object_manifest(name, data, frames), indent=1, ensure_ascii=False)
        upload(
            self._client, self._bucket, manifest_name(name), manifest.encode(), "application/json"
        )


class WriteUnreadable(_WriteToArchive):
    """Write messages that are no frame, whole, under the digest of their bytes."""

    def process(self, element: bytes) -> None:
        """Write one message."""
        path = unreadable_path(element)
        upload(self._client, self._bucket, path, element, "application/octet-stream")


def key_by_folder(received: ReceivedFrame, shards: int) -> tuple[ArchiveKey, ArchivedFrame]:
    """Return the folder of a frame, and what of it is archived."""
    header = received.frame.header
    hour = from_microseconds(header.closed_at).strftime("%Y-%m-%dT%H")
    key = ArchiveKey(header.market, header.channel, hour, header.sequence % shards)
    return key, ArchivedFrame(header, received.data)


def unique_frames(group: Iterable[ArchivedFrame]) -> list[ArchivedFrame]:
    """Return the frames without redelivered ones, in order of collector, epoch and sequence."""
    frames = {frame.header.frame_id: frame for frame in group}
    return sorted(
        frames.values(), key=lambda f: (f.header.collector, f.header.epoch, f.header.sequence)
    )


def object_name(key: ArchiveKey, frames: Sequence[ArchivedFrame]) -> str:
    """Return the object's name: folder, time of the first line, digest of the frames' ids."""
    opened_at = min(frame.header.opened_at for frame in frames)
    time = from_microseconds(opened_at).strftime("%Y%m%dT%H%M%S.%fZ")
    ids = "\n".join(frame.header.frame_id for frame in frames)
    digest = hashlib.sha256(ids.encode()).hexdigest()[:16]
    return f"{key.folder}/{time}-{digest}.ndjson.zst"


def manifest_name(name: str) -> str:
    """Return the name of an object's manifest."""
    return name.removesuffix(".ndjson.zst") + ".manifest.json"


def object_manifest(name: str, data: bytes, frames: Sequence[ArchivedFrame]) -> dict[str, Any]:
    """Return the manifest: what the object must contain, to be checked against it.

    `frames` holds each frame's header as the collector wrote it: line count, ids and totals by
    symbol.
    """
    return {
        "object": name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "lines": sum(frame.header.lines for frame in frames),
        "opened_at": min(frame.header.opened_at for frame in frames),
        "closed_at": max(frame.header.closed_at for frame in frames),
        "written_at": datetime.now(UTC).isoformat(timespec="microseconds"),
        "frames": [msgspec.to_builtins(frame.header) for frame in frames],
    }


def upload(client: storage.Client, bucket: str, name: str, data: bytes, kind: str) -> None:
    """Write an object whole; the client retries what may pass, and checks the checksum."""
    client.bucket(bucket).blob(name).upload_from_string(
        data, content_type=kind, checksum="crc32c", timeout=UPLOAD_SECONDS
    )
