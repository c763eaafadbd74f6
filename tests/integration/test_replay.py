"""The replay as a process and through Airflow, between real emulators.

Archive and tables are filled by the streaming job's own steps; then rows are deleted and objects
spoiled. What a replay leaves must be what was there before, and its proof must say so.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from beam_jobs.archive import ArchivedFrame, WriteObject, key_by_folder, storage_client
from beam_jobs.load import LoadFrames, writer_pool
from beam_jobs.read_archive import open_frame
from beam_jobs.tables import create_tables
from collector.sealing import SealedFrame
from sandbox.warehouse import Warehouse
from tests.integration.conftest import BigQuery, Gcs, new_project
from tests.integration.dag_runs import Airflow
from tests.integration.test_stream_trades import sealed, trade

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
ONCE: dict[str, Any] = {"retry": None, "timeout": 15}
HOUR = "2026-02-02T02"
ALWAYS = "traded_at > timestamp '1970-01-01'"
TOTALS = f"""
select symbol, count(*) as n, sum(trade_id) as ids, sum(quantity) as quantity,
  sum(quote_quantity) as quote, count(distinct frame_id) as frames
from `{{project}}.raw.trades` where {ALWAYS} group by symbol order by symbol
"""  # noqa: S608 - our own condition
SYMBOLS = ("BTCUSDT", "币安USDT")


@dataclass
class Platform:
    """A project and a bucket of the test's own on the shared emulators."""

    project: str
    bucket: storage.Bucket
    warehouse: Warehouse
    environment: dict[str, str]

    def archive(self, *frames: SealedFrame) -> str:
        """Write frames of one folder as the streaming job does; return the object's name."""
        step = WriteObject(self.bucket.name, self.project)
        step.setup()
        received = [open_frame(frame.data) for frame in frames]
        key, _ = key_by_folder(received[0], shards=1)
        before = self.objects()
        step.process((key, [ArchivedFrame(each.frame.header, each.data) for each in received]))
        (name,) = [name for name in self.objects() - before if name.endswith(".zst")]
        return name

    def objects(self) -> set[str]:
        return {blob.name for blob in self.bucket.list_blobs(**ONCE)}

    def load(self, *frames: SealedFrame) -> None:
        """Append frames as the streaming job does."""
        step = LoadFrames(self.project)
        step.setup()
        step.start_bundle()
        for frame in frames:
            assert list(step.process(open_frame(frame.data))) == []
        step.finish_bundle()

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.warehouse.rows(sql)

    def replay(self, *options: str, last: str = HOUR) -> tuple[int, dict[str, Any]]:
        """Run the job; return its exit code and its proof."""
        command = [
            *(sys.executable, "-m", "beam_jobs.replay_archive", "--runner=DirectRunner"),
            *(f"--project={self.project}", f"--archive=gs://{self.bucket.name}"),
            *(f"--first={HOUR}", f"--last={last}", "--proof=replays/proof.json", *options),
        ]
        done = subprocess.run(
            command, env=os.environ | self.environment, cwd=ROOT, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr[-5000:]
        proof = json.loads(self.bucket.blob("replays/proof.json").download_as_bytes(**ONCE))
        assert '"is_proven": ' in done.stdout, done.stderr[-5000:]
        return done.returncode, proof


@pytest.fixture
def platform(gcs: Gcs, bigquery: BigQuery, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    environment = {
        **gcs.environment,
        **bigquery.environment,
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONWARNINGS": "ignore",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for cached in (storage_client, writer_pool):
        cached.cache_clear()
    project = new_project()
    create_tables(project, "US")
    with (
        Warehouse(project, bigquery.rest_url) as warehouse,
        contextlib.closing(storage.Client(project, credentials=AnonymousCredentials())) as client,
    ):
        bucket = client.create_bucket(f"{project}-archive", **ONCE)
        yield Platform(project, bucket, warehouse, environment)


def frames(count: int = 6, first: int = 0) -> list[SealedFrame]:
    return sealed(
        [
            [trade(number, symbol) for number in range(10 * k, 10 * k + 10) for symbol in SYMBOLS]
            for k in range(first, first + count)
        ]
    )


def kline(number: int) -> bytes:
    fields = {
        "t": 1_769_999_940_000, "T": 1_769_999_999_999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2,
        "o": "1", "c": "1", "h": "1", "l": "1", "v": "1", "n": 2, "x": False, "q": "1", "V": "1",
        "Q": "1", "B": "0",
    }  # fmt: skip
    payload = {"e": "kline", "E": 1_769_999_950_000 + number, "s": "BTCUSDT", "k": fields}
    message = {"stream": "btcusdt@kline_1m", "data": payload}
    return json.dumps(message, separators=(",", ":")).encode()


def delete(platform: Platform, table: str, condition: str) -> None:
    platform.rows(f"delete from `{{project}}.{table}` where {condition}")  # noqa: S608 - our own


def test_deleted_rows_come_back_exactly(platform: Platform) -> None:
    made = frames()
    klines = sealed([[kline(number) for number in range(5)]], collector="c2")
    platform.load(*made, *klines)
    platform.archive(*made[:3])
    platform.archive(*made[2:])  # one frame is in both
    platform.archive(*klines)
    before = platform.rows(TOTALS)
    delete(platform, "raw.trades", f"symbol = 'BTCUSDT' and trade_id between 5 and 24 and {ALWAYS}")
    delete(platform, "raw.trades", f"frame_id = '{made[5].header.frame_id}' and {ALWAYS}")
    delete(platform, "ops.frames", f"frame_id = '{made[4].header.frame_id}'")
    delete(platform, "raw.klines", "opened_at > timestamp '1970-01-01'")
    assert platform.rows(TOTALS) != before

    code, proof = platform.replay()
    assert (code, proof["is_proven"]) == (0, True), json.dumps(proof, indent=1, ensure_ascii=False)
    assert platform.rows(TOTALS) == before
    assert (proof["frames"], proof["rows"]) == (7, 125)
    assert (proof["replayed_frames"], proof["replayed_rows"]) == (6, 20 + 20 + 5)
    trades = {each["symbol"]: each for each in proof["symbols"] if each["channel"] == "trade"}
    assert trades["BTCUSDT"]["archive"] == trades["BTCUSDT"]["table"]
    assert trades["BTCUSDT"]["archive"]["count"] == 60
    assert trades["BTCUSDT"]["before"]["count"] == 60 - 20 - 10
    assert Decimal(trades["币安USDT"]["table"]["sum_quantity"]) == Decimal("0.2") * 60
    ledger = platform.rows(
        "select count(*) as n, count(distinct frame_id) as frames from `{project}.ops.frames`"
    )
    assert ledger == [{"n": 7, "frames": 7}]
    loads = platform.rows(
        "select symbol, count(*) as n from `{project}.ops.frame_symbols` where channel = 'trade'"
        " group by symbol order by symbol"
    )
    # Frames 0 to 2 and 5 for BTCUSDT, 5 for the other; 4 had lost its entry.
    assert loads == [{"symbol": "BTCUSDT", "n": 6 + 5}, {"symbol": "币安USDT", "n": 6 + 2}]

    code, proof = platform.replay()
    assert (code, proof["replayed_frames"], proof["replayed_rows"]) == (0, 0, 0)
    assert platform.rows(TOTALS) == before


def test_what_can_not_be_read_is_named_and_the_rest_is_replayed(platform: Platform) -> None:
    made = frames()
    platform.load(*made)
    names = [platform.archive(*made[n : n + 2]) for n in (0, 2, 4)]
    platform.rows(
        "update `{project}.ops.frames` set loaded_at = timestamp_sub(loaded_at, interval 1 hour)"
        " where true"
    )
    before = platform.rows(TOTALS)
    delete(platform, "raw.trades", ALWAYS)
    corrupt, gone, _ = names
    data = {name: platform.bucket.blob(name).download_as_bytes(**ONCE) for name in names}
    flipped = bytes([data[corrupt][-1] ^ 1])
    platform.bucket.blob(corrupt).upload_from_string(data[corrupt][:-1] + flipped, **ONCE)
    platform.bucket.blob(gone).delete(**ONCE)

    code, proof = platform.replay("--channels=trade")
    assert (code, proof["is_proven"]) == (1, False)
    assert len(proof["problems"]) == 2
    problems = "\n".join(proof["problems"])
    assert f"{corrupt}: its SHA-256 is" in problems
    assert f"{gone}: its manifest is there and it is gone" in problems
    assert proof["replayed_frames"] == 2
    assert proof["unarchived"] == sorted(frame.header.frame_id for frame in made[:4])
    assert [row["n"] for row in platform.rows(TOTALS)] == [20, 20]

    for name in (corrupt, gone):
        platform.bucket.blob(name).upload_from_string(data[name], **ONCE)
    code, proof = platform.replay("--channels=trade")
    assert (code, proof["is_proven"]) == (0, True), json.dumps(proof, indent=1, ensure_ascii=False)
    assert platform.rows(TOTALS) == before


def test_tables_are_rebuilt_elsewhere(platform: Platform) -> None:
    made = frames(2)
    platform.load(*made)
    platform.archive(*made)
    code, proof = platform.replay("--tables=again", "--symbols=BTCUSDT")
    assert (code, proof["replayed_rows"], proof["tables"]) == (0, 20, "again")
    code, proof = platform.replay("--tables=again")
    assert (code, proof["replayed_rows"]) == (0, 20)
    rebuilt = TOTALS.replace(".raw.", ".again.")
    assert platform.rows(rebuilt) == platform.rows(TOTALS)
    assert platform.rows("select count(*) as n from `{project}.again.frames`") == [{"n": 2}]


# Airflow

RUNS = """
import replay_archive as module
dag = module.replay_archive()
serve(lambda asked: told(dag.test(run_conf=asked["conf"])))
"""


@pytest.fixture
def airflow(platform: Platform, tmp_path: Path, airflow_database: Path) -> Iterator[Any]:
    """Return a function that runs the DAG once in Airflow; the answer has what it printed, too."""
    settings = {"project": platform.project, "bucket": platform.bucket.name}
    with Airflow(RUNS, tmp_path, airflow_database, platform.environment) as process:
        yield lambda **conf: process.ask(settings=settings, conf=conf)


def test_the_dag_replays_and_names_what_it_can_not(platform: Platform, airflow: Any) -> None:
    made = frames(4)
    platform.load(*made)
    names = [platform.archive(*made[n : n + 2]) for n in (0, 2)]
    before = platform.rows(TOTALS)
    delete(platform, "raw.trades", f"trade_id between 3 and 14 and {ALWAYS}")

    answer = airflow(first=HOUR, last=HOUR)
    assert answer["state"] == "success", answer["log"]
    assert answer["tasks"] == {"replay": "success", "prove": "success"}
    assert platform.rows(TOTALS) == before

    good = platform.bucket.blob(names[1]).download_as_bytes(**ONCE)
    platform.bucket.blob(names[1]).upload_from_string(good[:-1], **ONCE)
    delete(platform, "raw.trades", ALWAYS)
    answer = airflow(first=HOUR, last=HOUR, channels=["trade"])
    assert answer["state"] == "failed", answer["log"]
    assert answer["tasks"] == {"replay": "success", "prove": "failed"}
    assert (
        f"{names[1]}: it has {len(good) - 1} bytes, its manifest says {len(good)}"
        in (answer["log"])
    )
    assert [row["n"] for row in platform.rows(TOTALS)] == [20, 20]

    answer = airflow(first=HOUR, last="2026-02-02T01")
    assert answer["tasks"] == {"replay": "failed", "prove": "upstream_failed"}
    assert "--last: expected --first (2026-02-02T02)" in answer["log"]


# A job that looks at itself twice; what becomes of it, and whether it writes its proof, is asked.
ON_DATAFLOW = """
import replay_archive as module
from airflow.providers.google.cloud.triggers.dataflow import DataflowJobStatusTrigger
from google.cloud.dataflow_v1beta3 import JobState
from market_ops.archive import replay, replay_job
from market_ops.clients import archive_bucket
from market_ops.settings import read_settings
dag = module.replay_archive()
dag.get_task("replay").retries, dag.get_task("replay").on_failure_callback = 0, []
replay_job.LOOK_SECONDS = 0
jobs, looks, states = [], [], []

class Hook:
    async def get_job_status(self, **asked):
        looks.append(asked)
        return JobState[states.pop(0)]

DataflowJobStatusTrigger.async_hook = Hook()

def run(asked):
    def start(settings, options):
        jobs.append(options)
        if asked["proof"]:
            bucket = archive_bucket(read_settings())
            bucket.blob(options["proof"]).upload_from_string(json.dumps(asked["proof"]))
        return "job-1"

    replay.start_on_dataflow = start
    looks.clear()
    states[:] = asked["states"]
    return told(dag.test(run_conf=asked["conf"]), looks=looks)

serve(run)
"""


def test_on_dataflow_no_worker_waits(
    gcs: Gcs, tmp_path: Path, airflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is deferred to the Google provider's trigger, and judges by the proof alone."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.rest_url)
    project = new_project()
    numbers = ("frames", "rows", "replayed_frames", "replayed_rows", "unarchived_frames")
    lists = ("problems", "differences", "symbols", "unarchived")
    proof = dict.fromkeys(numbers, 0) | {name: [] for name in lists}
    client = storage.Client(project, credentials=AnonymousCredentials())
    with contextlib.closing(client):
        bucket = client.create_bucket(f"on-dataflow-{os.getpid()}", **ONCE)
    settings = {"project": project, "bucket": bucket.name, "dataflow": {"region": "europe-west1"}}
    conf = {"first": HOUR, "last": HOUR}
    with Airflow(ON_DATAFLOW, tmp_path, airflow_database, gcs.environment) as airflow:

        def run(*states: str, proof: dict[str, Any] | None) -> dict[str, Any]:
            named = [f"JOB_STATE_{state}" for state in states]
            return airflow.ask(settings=settings, conf=conf, states=named, proof=proof)

        answer = run("QUEUED", "RUNNING", "DONE", proof=proof)
        assert answer["tasks"] == {"replay": "success", "prove": "success"}, answer["log"]
        asked = {"job_id": "job-1", "project_id": project, "location": "europe-west1"}
        assert answer["looks"] == [asked] * 3
        assert run("CANCELLED", proof=proof)["tasks"]["prove"] == "success"
        answer = run("RUNNING", "CANCELLED", proof=None)
        assert answer["tasks"] == {"replay": "failed", "prove": "upstream_failed"}
        assert "the job ended without a proof (Job with id 'job-1'" in answer["log"]
