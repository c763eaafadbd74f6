import hashlib
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.archive import (
    ArchivedFrame,
    ArchiveKey,
    WriteObject,
    WriteUnreadable,
    key_by_folder,
    manifest_name,
    object_manifest,
    object_name,
    unique_frames,
)
from beam_jobs.frames import unreadable_path
from market_data.frames import FrameHeader, decode_frame, encode_frame, split_frames
from tests.beam_jobs.samples import frame, received, trade

KEY = ArchiveKey("spot", "trade", "2026-02-02T02", 0)
HOUR_US = 3_600_000_000


def archived(*sequences: int) -> list[ArchivedFrame]:
    frames = [frame(trade(number), sequence=number) for number in sequences]
    return [ArchivedFrame(each.header, encode_frame(each)) for each in frames]


class FakeStorage:
    """Cloud Storage as far as `_upload` uses it."""

    def __init__(self) -> None:
        self.uploads: list[tuple[str, str, bytes, dict[str, Any]]] = []

    def bucket(self, name: str) -> "FakeStorage":
        self._bucket = name
        return self

    def blob(self, name: str) -> "FakeStorage":
        self._name = name
        return self

    def upload_from_string(self, data: bytes, **options: Any) -> None:
        self.uploads.append((self._bucket, self._name, data, options))


class TestKeys:
    def test_the_folder_is_hive_partitioned(self) -> None:
        assert KEY.folder == "raw/market=spot/channel=trade/dt=2026-02-02/hour=02"

    def test_the_hour_is_that_of_the_last_line(self) -> None:
        found = received(trade(1), opened_at=HOUR_US * 491_666 - 1, closed_at=HOUR_US * 491_666)
        key, kept = key_by_folder(found, shards=1)
        assert key == ArchiveKey("spot", "trade", "2026-02-02T02", 0)
        assert kept == ArchivedFrame(found.frame.header, found.data)

    def test_shards_spread_by_sequence(self) -> None:
        keys = [key_by_folder(received(trade(1), sequence=n), shards=4)[0] for n in range(8)]
        assert [key.shard for key in keys] == [0, 1, 2, 3] * 2
        assert len({key.folder for key in keys}) == 1


class TestNames:
    @given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.randoms())
    def test_the_name_knows_neither_order_nor_redelivery(
        self, sequences: list[int], chance: random.Random
    ) -> None:
        once = unique_frames(archived(*sorted(set(sequences))))
        group = archived(*sequences)
        chance.shuffle(group)
        again = unique_frames(group)
        assert object_name(KEY, again) == object_name(KEY, once)
        assert [each.data for each in again] == [each.data for each in once]

    def test_other_frames_have_another_name(self) -> None:
        names = {
            object_name(KEY, archived(*group)) for group in ((1,), (2,), (1, 2), (1, 3), (1, 2, 3))
        }
        assert len(names) == 5

    def test_the_name_sorts_by_time(self) -> None:
        name = object_name(KEY, archived(1, 2))
        assert name.startswith(f"{KEY.folder}/20260202T024000.001000Z-")
        assert name.endswith(".ndjson.zst")
        assert len(name) == len(f"{KEY.folder}/20260202T024000.001000Z-.ndjson.zst") + 16
        assert manifest_name(name) == name[: -len(".ndjson.zst")] + ".manifest.json"

    def test_frames_are_ordered_by_collector_epoch_and_sequence(self) -> None:
        made = [
            frame(trade(1), sequence=sequence, collector=collector, epoch=epoch,
                  frame_id=f"{collector}/{epoch}/{sequence}")
            for sequence in (10, 2) for collector in ("b", "a") for epoch in (7, 3)
        ]  # fmt: skip
        frames = unique_frames([ArchivedFrame(each.header, b"") for each in made])
        assert [each.header.frame_id for each in frames] == [
            *("a/3/2", "a/3/10", "a/7/2", "a/7/10", "b/3/2", "b/3/10", "b/7/2", "b/7/10"),
        ]


class TestManifest:
    def test_it_says_what_the_object_must_hold(self) -> None:
        frames = archived(1, 2, 5)
        data = b"".join(each.data for each in frames)
        manifest = object_manifest("x.ndjson.zst", data, frames)
        assert manifest["object"] == "x.ndjson.zst"
        assert manifest["bytes"] == len(data)
        assert manifest["sha256"] == hashlib.sha256(data).hexdigest()
        assert manifest["lines"] == 3
        assert manifest["opened_at"] == frames[0].header.opened_at
        assert manifest["closed_at"] == frames[-1].header.closed_at
        assert [each["frame_id"] for each in manifest["frames"]] == ["c1/7/1", "c1/7/2", "c1/7/5"]
        assert manifest["frames"][1]["symbols"]["BTCUSDT"]["sum_ids"] == 2

    def test_it_is_json(self) -> None:
        made = frame(trade(1, "币安USDT", q="0.1"))
        manifest = object_manifest("x", b"", [ArchivedFrame(made.header, b"")])
        assert json.loads(json.dumps(manifest)) == manifest


class TestWriteObject:
    @pytest.fixture
    def storage(self, monkeypatch: pytest.MonkeyPatch) -> FakeStorage:
        storage = FakeStorage()
        monkeypatch.setattr("beam_jobs.archive.storage.Client", lambda project: storage)
        return storage

    def test_the_object_then_its_manifest(self, storage: FakeStorage) -> None:
        frames = archived(3, 1, 1, 2)
        step = WriteObject("bucket", "project")
        step.setup()
        step.process((KEY, frames))
        (bucket, name, data, options), (_, manifest, text, manifest_options) = storage.uploads
        assert bucket == "bucket"
        assert name == object_name(KEY, unique_frames(frames))
        assert options["content_type"] == "application/zstd"
        assert options["checksum"] == manifest_options["checksum"] == "crc32c"
        assert manifest == manifest_name(name)
        assert json.loads(text)["sha256"] == hashlib.sha256(data).hexdigest()
        headers: list[FrameHeader] = [decode_frame(part).header for part in split_frames(data)]
        assert [header.sequence for header in headers] == [1, 2, 3]

    def test_the_same_frames_overwrite(self, storage: FakeStorage) -> None:
        step = WriteObject("bucket", "project")
        step.setup()
        step.process((KEY, archived(1, 2)))
        step.process((KEY, archived(2, 2, 1)))
        assert storage.uploads[0] == storage.uploads[2]

    def test_a_group_of_nothing_is_no_object(self, storage: FakeStorage) -> None:
        step = WriteObject("bucket", "project")
        step.setup()
        step.process((KEY, []))
        assert storage.uploads == []

    def test_a_message_that_is_no_frame(self, storage: FakeStorage) -> None:
        step = WriteUnreadable("bucket", "project")
        step.setup()
        step.process(b"garbage")
        ((bucket, name, data, _),) = storage.uploads
        assert (bucket, name, data) == ("bucket", unreadable_path(b"garbage"), b"garbage")
