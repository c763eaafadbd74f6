import hashlib
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.pvalue import TaggedOutput
from google.api_core.exceptions import NotFound

from beam_jobs import read_archive
from beam_jobs.archive import ArchivedFrame, ArchiveKey, manifest_name, object_manifest
from beam_jobs.read_archive import (
    FindObjects,
    ReadObjects,
    frames_of,
    hour_of,
    hours_between,
    open_frame,
)
from market_data.decode import from_microseconds
from market_data.frames import encode_frame
from tests.beam_jobs.samples import frame, trade

KEY = ArchiveKey("spot", "trade", "2026-02-02T02", 0)
NAME = f"{KEY.folder}/a.ndjson.zst"


class Bucket:
    """Objects by name, as far as the steps read them."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def bucket(self, name: str) -> "Bucket":
        return self

    def list_blobs(self, bucket: str, prefix: str, timeout: float) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.objects if name.startswith(prefix)]

    def blob(self, name: str) -> Any:
        def download_as_bytes(timeout: float) -> bytes:
            if name not in self.objects:
                raise NotFound(name)
            return self.objects[name]

        return SimpleNamespace(download_as_bytes=download_as_bytes)


def archived(*sequences: int) -> tuple[bytes, dict[str, Any]]:
    """Return an object and its manifest."""
    frames = [frame(trade(number), sequence=number) for number in sequences]
    parts = [ArchivedFrame(each.header, encode_frame(each)) for each in frames]
    data = b"".join(part.data for part in parts)
    return data, object_manifest(NAME, data, parts)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    data, manifest = archived(1, 2)
    found = Bucket({NAME: data, manifest_name(NAME): json.dumps(manifest).encode()})
    monkeypatch.setattr(read_archive, "storage_client", lambda project: found)
    return found


def problem(output: Any) -> str:
    assert isinstance(output, TaggedOutput)
    assert output.tag == "problems"
    return str(output.value.what)


def read() -> list[Any]:
    return list(ReadObjects("bucket", "project").process(NAME))


def find() -> list[Any]:
    return list(FindObjects("bucket", "project").process(KEY))


class TestFindObjects:
    def test_finished_objects_of_the_hour(self, bucket: Bucket) -> None:
        bucket.objects[NAME.replace("hour=02", "hour=03")] = b""
        bucket.objects[f"{KEY.folder}/unfinished.ndjson.zst"] = b""
        assert find() == [NAME]

    def test_an_object_that_is_gone_is_named(self, bucket: Bucket) -> None:
        del bucket.objects[NAME]
        (output,) = find()
        assert problem(output).startswith(f"{NAME}: its manifest is there and it is gone; ")


class TestReadObjects:
    def test_frames_by_id(self, bucket: Bucket) -> None:
        found = read()
        assert [frame_id for frame_id, _ in found] == ["c1/7/1", "c1/7/2"]
        assert b"".join(data for _, data in found) == bucket.objects[NAME]

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({NAME: b"x"}, "it has 1 bytes, its manifest says"),
            ({NAME: None}, "it or its manifest was removed meanwhile"),
            ({manifest_name(NAME): b"{"}, "its manifest is none: JSONDecodeError"),
            ({manifest_name(NAME): b"{}"}, "its manifest is none: KeyError('bytes')"),
            ({manifest_name(NAME): b"[]"}, "its manifest is none: TypeError"),
        ],
    )
    def test_a_bad_object_is_a_problem_with_its_name(
        self, bucket: Bucket, change: dict[str, bytes | None], why: str
    ) -> None:
        for name, data in change.items():
            if data is None:
                del bucket.objects[name]
            else:
                bucket.objects[name] = data
        (output,) = read()
        assert problem(output).startswith(f"{NAME}: {why}")
        assert "restore it" in problem(output)


class TestFramesOf:
    def test_another_byte(self) -> None:
        data, manifest = archived(1)
        flipped = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
        with pytest.raises(ValueError, match="its SHA-256 is"):
            frames_of(flipped, manifest)

    def test_corrupt_before_the_manifest_was_written(self) -> None:
        data, manifest = archived(1)
        flipped = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
        manifest["sha256"] = hashlib.sha256(flipped).hexdigest()
        with pytest.raises(ValueError, match=r"(?i)checksum|corrupt"):
            frames_of(flipped, manifest)

    def test_other_frames_than_the_manifest_names(self) -> None:
        data, manifest = archived(1, 2)
        manifest["frames"].reverse()
        with pytest.raises(ValueError, match="it has 2 frames, not those 2"):
            frames_of(data, manifest)


def test_an_archived_frame_is_opened_as_received() -> None:
    data, _ = archived(3)
    opened = open_frame(data)
    assert opened.data == data
    assert opened.published_at == from_microseconds(opened.frame.header.closed_at)
    assert hour_of(opened) == KEY


def test_hours_between() -> None:
    first, last = datetime(2026, 2, 2, 23, tzinfo=UTC), datetime(2026, 2, 3, 0, tzinfo=UTC)
    found = hours_between("spot", ("trade", "kline"), first, last)
    assert [(key.channel, key.hour) for key in found] == [
        *(("trade", "2026-02-02T23"), ("kline", "2026-02-02T23")),
        *(("trade", "2026-02-03T00"), ("kline", "2026-02-03T00")),
    ]
