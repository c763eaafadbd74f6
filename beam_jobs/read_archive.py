"""Read the archive: the raw objects of an hour, each held against the manifest beside it.

What can't be used is a problem with the object's name, not an exception: the other objects are
read all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import apache_beam as beam
from google.api_core.exceptions import NotFound
from google.cloud import storage

from beam_jobs.archive import UPLOAD_SECONDS, ArchiveKey, manifest_name, storage_client
from beam_jobs.frames import ReceivedFrame
from market_data.decode import from_microseconds
from market_data.frames import decode_frame, split_frames

OBJECT: Final = ".ndjson.zst"
MANIFEST: Final = ".manifest.json"
PROBLEMS: Final = "problems"
REMEDY: Final = (
    "nothing of it was replayed; restore it from the bucket's earlier versions, or move it and its"
    " manifest away and have its ids repaired"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a part of the archive could not be replayed.

    Attributes:
        what: what is wrong, with the object's name and the remedy.
    """

    what: str


class FindObjects(beam.DoFn):
    """List the objects of an hour.

    Outputs:
        main: names of objects that have a manifest.
        problems: Problem, one a manifest whose object is missing.

    Args:
        bucket: bucket of the archive.
        project: project of the storage client.
    """

    def __init__(self, bucket: str, project: str) -> None:
        self._bucket = bucket
        self._project = project

    def process(self, element: ArchiveKey) -> Iterator[Any]:
        """Yield the names of one hour; without a manifest an object is unfinished and none."""
        client = storage_client(self._project)
        prefix = f"{element.folder}/"
        names = {
            blob.name
            for blob in client.list_blobs(self._bucket, prefix=prefix, timeout=UPLOAD_SECONDS)
        }
        for name in sorted(name for name in names if name.endswith(MANIFEST)):
            wanted = name.removesuffix(MANIFEST) + OBJECT
            if wanted in names:
                yield wanted
            else:
                yield beam.pvalue.TaggedOutput(
                    PROBLEMS,
                    Problem(f"{wanted}: its manifest is there and it is gone; {REMEDY}"),
                )


class ReadObjects(beam.DoFn):
    """Read objects and take them apart.

    Outputs:
        main: (frame id, bytes of the frame as the collector published it).
        problems: Problem, one an object that is not what its manifest says.

    Args:
        bucket: bucket of the archive.
        project: project of the storage client.
    """

    def __init__(self, bucket: str, project: str) -> None:
        self._bucket = bucket
        self._project = project

    def process(self, element: str) -> Iterator[Any]:
        """Yield the frames of one object, all or none."""
        bucket = storage_client(self._project).bucket(self._bucket)
        try:
            data, manifest = _download(bucket, element), _download(bucket, manifest_name(element))
            yield from frames_of(data, json.loads(manifest))
            return
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            why = f"its manifest is none: {error!r}"
        except NotFound:
            why = "it or its manifest was removed meanwhile"
        except ValueError as error:
            why = str(error)
        yield beam.pvalue.TaggedOutput(PROBLEMS, Problem(f"{element}: {why}; {REMEDY}"))


def frames_of(data: bytes, manifest: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Return the frames of an object by id, in order.

    Raises:
        ValueError, KeyError, TypeError: it is not what its manifest says.
    """
    if len(data) != manifest["bytes"]:
        raise ValueError(f"it has {len(data)} bytes, its manifest says {manifest['bytes']}")
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != manifest["sha256"]:
        raise ValueError(f"its SHA-256 is {sha256}, its manifest says {manifest['sha256']}")
    parts = list(split_frames(data))
    found = [decode_frame(part).header.frame_id for part in parts]
    wanted = [frame["frame_id"] for frame in manifest["frames"]]
    if found != wanted:
        raise ValueError(f"it has {len(found)} frames, not those {len(wanted)} of its manifest")
    return list(zip(found, parts, strict=True))


def open_frame(data: bytes) -> ReceivedFrame:
    """Return an archived frame as the subscription gave it.

    When Pub/Sub took it is not archived; it was not before the last line was received.
    """
    frame = decode_frame(data)
    return ReceivedFrame(frame, data, from_microseconds(frame.header.closed_at))


def hour_of(received: ReceivedFrame) -> ArchiveKey:
    """Return the hour that a frame is archived in."""
    header = received.frame.header
    hour = from_microseconds(header.closed_at).strftime("%Y-%m-%dT%H")
    return ArchiveKey(header.market, header.channel, hour, shard=0)


def hours_between(
    market: str, channels: tuple[str, ...], first: datetime, last: datetime
) -> list[ArchiveKey]:
    """Return the hours of arrival from `first` to `last`, both included, of each channel."""
    count = int((last - first) / timedelta(hours=1)) + 1
    hours = [f"{first + timedelta(hours=number):%Y-%m-%dT%H}" for number in range(count)]
    return [ArchiveKey(market, channel, hour, shard=0) for hour in hours for channel in channels]


def _download(bucket: storage.Bucket, name: str) -> bytes:
    data: bytes = bucket.blob(name).download_as_bytes(timeout=UPLOAD_SECONDS)
    return data
