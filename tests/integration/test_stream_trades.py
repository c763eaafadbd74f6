"""The streaming job as a process, on DirectRunner, between real emulators.

What goes into Pub/Sub must come out in BigQuery and Cloud Storage: good frames as rows, ledger and
archive objects, bad ones as rejections that keep their bytes. Also when the job is killed.
"""

import contextlib
import hashlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage

from beam_jobs.resume import _durable_until
from collector.continuity import Hole
from collector.hole_records import record_lines
from collector.sealing import SealedFrame, Sealer
from market_data.frames import Frame, FrameHeader, decode_frame, encode_frame, split_frames
from sandbox.probes import free_ports, http_probe
from sandbox.warehouse import Warehouse
from tests.integration.conftest import (
    HOST,
    BigQuery,
    Gcs,
    PubSub,
    new_project,
    running,
    wait_until,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

RECEIVED_NS = 1_770_000_000_000_000_000  # 2026-02-02T02:40:00Z
SECONDS = 60.0
ONCE: dict[str, Any] = {"retry": None, "timeout": 15}

_buckets = itertools.count(1)


@dataclass
class Platform:
    """A project of the test's own on the shared emulators: topic, subscription, bucket, tables."""

    pubsub: PubSub
    gcs: Gcs
    bigquery: BigQuery
    project: str
    bucket: str
    folder: Path
    publisher: pubsub_v1.PublisherClient
    warehouse: Warehouse
    objects: storage.Bucket

    @property
    def topic(self) -> str:
        return f"projects/{self.project}/topics/frames"

    @property
    def subscription(self) -> str:
        return f"projects/{self.project}/subscriptions/job"

    def publish(self, *messages: bytes, **attributes: str) -> None:
        futures = [self.publisher.publish(self.topic, data, **attributes) for data in messages]
        for future in futures:
            future.result(15)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.warehouse.rows(sql)

    def count(self, what: str, table: str) -> int:
        (row,) = self.rows(f"select count({what}) as n from `{{project}}.{table}`")  # noqa: S608
        return int(row["n"])

    def archived(self) -> dict[str, bytes]:
        """Return the archive's objects by name."""
        return {
            blob.name: blob.download_as_bytes(**ONCE) for blob in self.objects.list_blobs(**ONCE)
        }

    @contextlib.contextmanager
    def job(self, **options: object) -> Iterator[Any]:
        """Run the job for the block, once it is healthy."""
        (port,) = free_ports(HOST, 1)
        given = {
            "project": self.project,
            "subscription": self.subscription,
            "archive": f"gs://{self.bucket}",
            "archive_seconds": 1,
            "health_port": port,
            **options,
        }
        command = [
            *(sys.executable, "-m", "beam_jobs.stream_trades"),
            *("--runner=DirectRunner", "--streaming"),
            *(f"--{name}={value}" for name, value in given.items()),
        ]
        environment = {
            **self.pubsub.environment,
            **self.gcs.environment,
            **self.bigquery.environment,
            "PYTHONWARNINGS": "ignore::FutureWarning",
        }
        probe = http_probe(f"http://{HOST}:{port}/healthz")
        with running("job", command, self.folder / "job.log", probe, environment) as process:
            yield process


@pytest.fixture
def platform(
    each_pubsub: PubSub,
    gcs: Gcs,
    bigquery: BigQuery,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Platform]:
    for name, value in (each_pubsub.environment | gcs.environment).items():
        monkeypatch.setenv(name, value)
    project, bucket = new_project(), f"archive-{next(_buckets)}-{each_pubsub.kind}"
    publisher = pubsub_v1.PublisherClient()
    with (
        Warehouse(project, bigquery.rest_url) as warehouse,
        pubsub_v1.SubscriberClient() as subscriber,
        contextlib.closing(storage.Client(project, credentials=AnonymousCredentials())) as client,
    ):
        it = Platform(
            *(each_pubsub, gcs, bigquery, project, bucket, tmp_path, publisher, warehouse),
            client.create_bucket(bucket, **ONCE),
        )
        publisher.create_topic(name=it.topic, **ONCE)
        request = {
            "name": it.subscription,
            "topic": it.topic,
            # A killed job's pull may still be open at the broker, and get what is sent again.
            "ack_deadline_seconds": 10,
            "retain_acked_messages": True,
            "message_retention_duration": {"seconds": 3600},
        }
        subscriber.create_subscription(request=request, **ONCE)
        yield it
    publisher.stop()
    publisher.transport.close()


def trade(number: int, symbol: str = "BTCUSDT", **changes: Any) -> bytes:
    payload = {
        "e": "trade", "E": 1770000000001, "s": symbol, "t": number, "p": "2.50000000",
        "q": "0.20000000", "T": 1770000000000, "m": True, "M": True, **changes,
    }  # fmt: skip
    message = {"stream": f"{symbol.lower()}@trade", "data": payload}
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def sealed(frames: list[list[bytes]], collector: str = "c1") -> list[SealedFrame]:
    """Return frames with these messages, as the collector seals them."""
    sealer = Sealer(market="spot", collector=collector, epoch=7, with_quantities=True)
    return [
        frame
        for number, messages in enumerate(frames)
        for frame in sealer.seal(messages, [RECEIVED_NS + number * 10**9] * len(messages)).frames
    ]


def hole_record(sequence: int) -> SealedFrame:
    """Return a frame with what became of a hole, as the collector seals it."""
    hole = Hole("trade", "BTCUSDT", 5, 7, RECEIVED_NS // 1000, "disconnect", [], {"c1/7/1": "rest"})
    lines = list(record_lines(hole, (), "c1/7", RECEIVED_NS // 1000 + 1))
    sealer = Sealer(market="spot", collector="c1", epoch=7, with_quantities=True)
    sealer.sequence = sequence - 1
    time = RECEIVED_NS // 1000
    (frame,) = sealer.seal_lines("hole", lines, time, source="rest", max_bytes=10**6).frames
    return frame


def lying(frame: SealedFrame, **changes: Any) -> bytes:
    """Return a frame's bytes with another header."""
    found = decode_frame(frame.data)
    fields = {name: getattr(found.header, name) for name in FrameHeader.__struct_fields__}
    return encode_frame(Frame(FrameHeader(**fields | changes), found.body))


def check_archive(objects: dict[str, bytes], frames: list[SealedFrame]) -> None:
    """Check that the archive holds exactly these frames and that its manifests tell the truth."""
    found: dict[str, bytes] = {}
    for name, data in objects.items():
        if not name.endswith(".ndjson.zst"):
            continue
        manifest = json.loads(objects[name.removesuffix(".ndjson.zst") + ".manifest.json"])
        parts = {decode_frame(part).header.frame_id: part for part in split_frames(data)}
        headers = [decode_frame(part).header for part in parts.values()]
        assert manifest["object"] == name
        assert manifest["bytes"] == len(data)
        assert manifest["sha256"] == hashlib.sha256(data).hexdigest()
        assert [each["frame_id"] for each in manifest["frames"]] == list(parts)
        assert manifest["lines"] == sum(header.lines for header in headers)
        for header in headers:
            assert name.startswith(
                f"raw/market=spot/channel={header.channel}/dt=2026-02-02/hour=02/"
            )
        found |= parts
    assert found == {frame.header.frame_id: frame.data for frame in frames}


def test_good_frames_become_rows_ledger_and_archive(platform: Platform) -> None:
    depth = b'{"stream":"btcusdt@depth","data":{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2}}'
    frames = sealed(
        [[trade(n, s) for n in range(10 * k, 10 * k + 10) for s in ("BTCUSDT", "币安USDT")]
         for k in range(20)]
        + [[depth] * 5]
    )  # fmt: skip
    frames.append(hole_record(len(frames) + 1))
    with platform.job():
        platform.publish(*(frame.data for frame in frames), origin="test")
        platform.publish(frames[3].data)  # Pub/Sub may deliver twice
        wait_until(
            lambda: platform.count("distinct frame_id", "ops.frames") == len(frames),
            "frames",
            SECONDS,
        )
        wait_until(
            lambda: sum(name.endswith(".manifest.json") for name in platform.archived()) >= 2,
            "manifests",
            SECONDS,
        )
        wait_until(
            lambda: _frames_in_manifests(platform.archived()) >= len(frames), "archive", SECONDS
        )
    totals = platform.rows(
        "select symbol, count(distinct trade_id) as n, min(trade_id) as low, max(trade_id) as high,"
        " min(price) as price, min(quote_quantity) as quote from `{project}.raw.trades`"
        " group by symbol order by symbol"
    )
    assert totals == [
        {"symbol": symbol, "n": 200, "low": 0, "high": 199, "price": Decimal("2.5"),
         "quote": Decimal("0.5")}
        for symbol in ("BTCUSDT", "币安USDT")
    ]  # fmt: skip
    assert platform.count("*", "raw.rejections") == 0
    ledger = platform.rows(
        "select distinct sequence, channel, header_lines, lines, loaded_rows, ignored_lines,"
        " sum_ids from `{project}.ops.frames` order by sequence"
    )
    assert [row["sequence"] for row in ledger] == list(range(1, len(frames) + 1))
    assert all(row["lines"] == row["header_lines"] for row in ledger)
    assert (ledger[-2]["channel"], ledger[-2]["ignored_lines"], ledger[-2]["sum_ids"]) == (
        *("depth", 5, None),
    )
    (hole,) = platform.rows("select * from `{project}.ops.holes`")
    assert {name: hole[name] for name in ("first_missing_id", "last_missing_id", "missing")} == {
        "first_missing_id": 5,
        "last_missing_id": 7,
        "missing": 3,
    }
    assert (hole["channel"], hole["cause"], hole["outcome"], hole["frames"], hole["source"]) == (
        *("trade", "disconnect", "healed", "c1/7/1", "rest"),
    )
    assert (hole["run_id"], hole["collector"], hole["frame_id"]) == (
        *("c1/7", "c1", f"c1/7/{len(frames)}"),
    )
    symbols = platform.rows(
        "select symbol, sum(sum_ids) as ids, sum(sum_quantity) as quantity from ("
        "select distinct frame_id, symbol, sum_ids, sum_quantity"
        " from `{project}.ops.frame_symbols`) group by symbol"
    )
    assert {(row["ids"], row["quantity"]) for row in symbols} == {(Decimal(19900), Decimal(40))}
    check_archive(platform.archived(), frames)


def _frames_in_manifests(objects: dict[str, bytes]) -> int:
    """Return how many different frames the manifests name."""
    manifests = [json.loads(data) for name, data in objects.items() if name.endswith(".json")]
    return len({frame["frame_id"] for manifest in manifests for frame in manifest["frames"]})


def test_bad_input_costs_nobody_else_and_keeps_its_bytes(platform: Platform) -> None:
    bad_line = trade(3, p="-1")
    good, with_bad_line, miscounted, cut, no_text = sealed(
        [[trade(1)], [trade(2), bad_line, trade(4)], [trade(5)], [trade(6)], [b"\xff\x00"]]
    )
    garbage, corrupt = b"no frame at all \x00", cut.data[:-4]
    wrong_count = lying(miscounted, lines=7)
    with platform.job():
        platform.publish(garbage, corrupt, collector="c1", channel="trade")
        platform.publish(good.data, with_bad_line.data, wrong_count, no_text.data)
        wait_until(
            lambda: platform.count("distinct trade_id", "raw.trades") >= 4, "trades", SECONDS
        )
        wait_until(
            lambda: platform.count("distinct reason", "raw.rejections") == 5, "rejections", SECONDS
        )
        wait_until(
            lambda: sum(name.startswith("raw/unreadable/") for name in platform.archived()) == 2,
            "unreadable",
            SECONDS,
        )
    rejections = platform.rows(
        "select distinct stage, reason, payload, payload_bytes, line_number, collector"
        " from `{project}.raw.rejections` order by stage, reason"
    )
    assert [(row["stage"], row["reason"], row["payload"]) for row in rejections] == [
        ("frame", "corrupt_frame", corrupt),
        ("frame", "count_mismatch", wrong_count),
        ("frame", "not_a_frame", garbage),
        ("line", "not_a_decimal", _line(bad_line)),
        ("line", "not_utf8", decode_frame(no_text.data).body.removesuffix(b"\n")),
    ]
    assert {row["collector"] for row in rejections} == {"c1"}
    ids = platform.rows("select distinct trade_id from `{project}.raw.trades` order by trade_id")
    assert [row["trade_id"] for row in ids] == [1, 2, 4, 5]
    objects = platform.archived()
    for data in (garbage, corrupt):
        assert objects[f"raw/unreadable/{hashlib.sha256(data).hexdigest()}.bin"] == data


def _line(message: bytes) -> bytes:
    """Return a message's line in the second frame."""
    return b'{"received_at":%d,' % ((RECEIVED_NS + 10**9) // 1000) + message[1:]


def test_kill_9_and_restart_lose_nothing(platform: Platform) -> None:
    frames = sealed([[trade(n) for n in range(50 * k, 50 * k + 50)] for k in range(60)])
    first, rest = frames[:30], frames[30:]
    with platform.job() as job:
        platform.publish(*(frame.data for frame in first))
        wait_until(lambda: platform.count("distinct frame_id", "ops.frames") >= 5, "rows", SECONDS)
        platform.publish(*(frame.data for frame in rest[:15]))
        job.kill()
        job.wait(15)
    platform.publish(*(frame.data for frame in rest[15:]))
    with platform.job():
        wait_until(
            lambda: platform.count("distinct trade_id", "raw.trades") == 3000, "trades", SECONDS
        )
        wait_until(
            lambda: _frames_in_manifests(platform.archived()) == len(frames), "archive", SECONDS
        )
        wait_until(
            lambda: platform.count("distinct frame_id", "ops.frames") == len(frames),
            "ledger",
            SECONDS,
        )
    (sums,) = platform.rows(
        "select sum(trade_id) as ids from (select distinct trade_id from `{project}.raw.trades`)"
    )
    assert sums["ids"] == 2999 * 3000 // 2
    assert platform.count("*", "raw.rejections") == 0
    check_archive(platform.archived(), frames)


def test_what_was_loaded_and_not_archived_is_read_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long before the newest loaded frame it was published."""
    frames = sealed([[trade(1)], [trade(2)]])
    with platform.job(archive_seconds=120) as job:
        for number, frame in enumerate(frames, start=1):
            platform.publish(frame.data)
            wait_until(lambda n=number: platform.count("*", "ops.frames") == n, "frame", SECONDS)
            time.sleep(2)
        job.kill()
        job.wait(15)
    assert platform.archived() == {}
    with platform.job(resume_seconds=1):
        wait_until(
            lambda: _frames_in_manifests(platform.archived()) == len(frames), "archive", SECONDS
        )
    assert platform.count("distinct trade_id", "raw.trades") == 2
    for name, value in platform.bigquery.environment.items():
        monkeypatch.setenv(name, value)
    platform.rows(  # a backfill, which has not passed Pub/Sub
        "insert into `{project}.ops.frames` select * replace ('backfill' as collector,"
        " current_timestamp() as published_at, current_timestamp() as closed_at)"
        " from `{project}.ops.frames` limit 1"
    )
    (newest,) = platform.rows(
        "select max(published_at) as at from `{project}.ops.frames` where collector = 'c1'"
    )
    until = _durable_until(platform.project, platform.bucket, timedelta(hours=1))
    assert until == newest["at"]


def test_wrong_options_end_the_process(platform: Platform) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "beam_jobs.stream_trades", "--archive=here"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--archive: expected gs://BUCKET, was 'here'" in done.stderr
