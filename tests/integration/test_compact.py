"""Compaction in a bucket, in BigQuery and in Airflow: running emulators stand for Google's."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq
from google.cloud import storage

from plugins.market_ops.archive import compact
from plugins.market_ops.archive.compact import compact_hour, manifest_of, removable
from plugins.market_ops.archive.storage import BucketStore, ReplacedMeanwhile
from plugins.market_ops.candles import candles_of_day
from tests.integration.conftest import BigQuery, Gcs, new_project
from tests.integration.dag_runs import Airflow
from tests.plugins.samples import HOUR, HOUR_MS, Trade, line, put

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
SCHEMA = [
    bq.SchemaField("symbol", "STRING"),
    bq.SchemaField("trade_id", "INTEGER"),
    bq.SchemaField("price", "NUMERIC"),
    bq.SchemaField("quantity", "NUMERIC"),
    bq.SchemaField("is_buyer_maker", "BOOLEAN"),
    bq.SchemaField("traded_at", "TIMESTAMP"),
]


@pytest.fixture
def bucket(gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> storage.Bucket:
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)
    client = storage.Client(project="test", credentials=AnonymousCredentials())
    return client.create_bucket(new_project())


@pytest.fixture
def store(bucket: storage.Bucket) -> BucketStore:
    return BucketStore(bucket)


def trade(number: int, symbol: str = "BTCUSDT", ms: int = 5) -> Trade:
    return symbol, number, "2.5", "0.2", ms, True


def test_a_bucket_is_compacted_and_read(store: BucketStore) -> None:
    name = put(store, "a", [line(trade(number, "币安人生USDT")) for number in (3, 1, 2)])
    compact_hour(store, HOUR)
    assert removable(store, HOUR) == [name]
    (entry,) = manifest_of(store, HOUR)["objects"]
    assert entry["trades"] == 3
    (candle,) = candles_of_day(store, "spot", HOUR.start.date()).to_pylist()
    assert (candle["symbol"], candle["trades"]) == ("币安人生USDT", 3)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        store.read("nowhere")


def test_a_bucket_replaces_only_what_was_read(store: BucketStore) -> None:
    store.replace("a", None, b"1")
    store.replace("a", b"1", b"2")
    for old in (None, b"1"):
        with pytest.raises(ReplacedMeanwhile, match="a: another compaction"):
            store.replace("a", old, b"3")
    assert store.read("a") == b"2"
    assert store.updated_at("a") is not None
    store.delete("a")
    store.delete("a")
    assert store.updated_at("a") is None


def test_bigquery_loads_every_object_of_a_manifest(
    store: BucketStore,
    bucket: storage.Bucket,
    bigquery: BigQuery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Narrow and wide decimals, milliseconds and microseconds, into one table."""
    monkeypatch.setattr(compact, "OWN_OBJECT_ROWS", 2)
    wide = ("PEPEUSDT", 1, "0.00000722", "12345678901.5", 3_599_999, False)
    microseconds = b'"T":%d' % (HOUR_MS * 1000 + 5001)
    put(
        store,
        "a",
        [line(trade(1)), line(trade(2)), line(wide)],
        [
            line(trade(n, "ETHUSDT")).replace(b'"T":%d' % (HOUR_MS + 5), microseconds)
            for n in (7, 8)
        ],
    )
    compact_hour(store, HOUR)
    objects = manifest_of(store, HOUR)["objects"]
    assert len(objects) == 3
    project = new_project()
    client = bq.Client(
        project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": bigquery.rest_url},
    )
    client.create_dataset("archive", timeout=SECONDS, retry=None)
    table = f"{project}.archive.trades"
    client.create_table(bq.Table(table, schema=SCHEMA), timeout=SECONDS, retry=None)
    config = bq.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
    for number, entry in enumerate(objects):
        # The emulator makes columns of folders such as `hour=02`, which BigQuery does when asked.
        copy = bucket.copy_blob(bucket.blob(entry["object"]), bucket, f"copy/{number}.parquet")
        job = client.load_table_from_uri(
            f"gs://{bucket.name}/{copy.name}", table, job_config=config, timeout=SECONDS
        )
        job.result(timeout=SECONDS, retry=None)
    sql = f"select * from `{table}` order by symbol, trade_id"  # noqa: S608 - our own table
    job = client.query(sql, timeout=SECONDS, retry=None, job_retry=None)
    at = HOUR.start
    later, last = at + timedelta(microseconds=5001), at + timedelta(milliseconds=3_599_999)
    price, quantity = Decimal("2.5"), Decimal("0.2")
    assert [tuple(row.values()) for row in job.result(timeout=SECONDS, retry=None)] == [
        *(("BTCUSDT", n, price, quantity, True, at + timedelta(milliseconds=5)) for n in (1, 2)),
        *(("ETHUSDT", n, price, quantity, True, later) for n in (7, 8)),
        ("PEPEUSDT", 1, Decimal("0.00000722"), Decimal("12345678901.5"), False, last),
    ]


# Airflow

RUNS = """
import compact_archive as module
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session
dag = module.compact_archive()

def compact(asked):
    run = dag.test(run_conf=asked["conf"])
    with create_session() as session:
        of_run = session.query(AssetEvent).filter_by(source_run_id=run.run_id)
        events = [event.extra for event in of_run.order_by(AssetEvent.id)]
    return told(run, events=events)

serve(compact)
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def compaction(
    gcs: Gcs, tmp_path_factory: pytest.TempPathFactory, airflow_database: Path
) -> Iterator[Run]:
    """Run the DAG once for a bucket."""
    folder = tmp_path_factory.mktemp("airflow")
    with Airflow(RUNS, folder, airflow_database, gcs.environment) as airflow:

        def run(bucket: str, **conf: Any) -> dict[str, Any]:
            settings = {"project": "crypto-local", "bucket": bucket}
            return airflow.ask(settings=settings, conf=conf)

        yield run


def test_the_dag_compacts_around_a_corrupt_object(
    store: BucketStore, bucket: storage.Bucket, compaction: Run
) -> None:
    before, later = (HOUR.at(HOUR_MS // 3_600_000 + n) for n in (-1, 1))
    for hour, number in ((before, 1), (HOUR, 2), (later, 3)):
        put(store, "a", [line(trade(number, ms=number))], hour=hour)
    corrupt = f"{HOUR.raw_folder}a.ndjson.zst"
    good = store.read(corrupt)
    store.write(corrupt, good[:-1] + b"x")
    raw = store.names("raw/")

    answer = compaction(bucket.name)
    assert answer["state"] == "failed", answer["log"]
    assert answer["tasks"] == {
        "find_hours": "success",
        "compact": ["success", "failed", "success"],
        "remove_old": "failed",
    }
    assert f"{corrupt}: its SHA-256 is" in answer["log"]
    assert "2026-02-02T02: raw objects wait for compaction" in answer["log"]
    assert store.names("raw/") == raw
    assert manifest_of(store, HOUR)["trades"] == 2
    assert store.names("compact/failures/") == [HOUR.failure]

    store.write(corrupt, good)
    answer = compaction(bucket.name)
    assert answer["state"] == "success", answer["log"]
    assert answer["tasks"]["compact"] == ["success"]
    assert store.names("compact/failures/") == []
    assert manifest_of(store, HOUR)["trades"] == 3
    assert store.names("raw/") == raw  # younger than the retention


def test_the_dag_compacts_a_range(
    store: BucketStore, bucket: storage.Bucket, compaction: Run
) -> None:
    later = HOUR.at(HOUR_MS // 3_600_000 + 1)
    put(store, "a", [line(trade(1))])
    put(store, "a", [line(trade(2))], hour=later)
    answer = compaction(bucket.name, first_hour="2026-02-02T03", last_hour="2026-02-02T03")
    assert answer["state"] == "success", answer["log"]
    (event,) = answer["events"]
    assert (event["hour"], event["lines"], event["trades"]) == ("2026-02-02T03", 1, 1)
    assert event["bytes_before"] > 0 < event["bytes_after"]
    assert removable(store, HOUR) == []
    assert len(removable(store, later)) == 1


def test_the_dag_without_work_ends_well(bucket: storage.Bucket, compaction: Run) -> None:
    answer = compaction(bucket.name)
    assert answer["state"] == "success", answer["log"]
    assert answer["tasks"]["remove_old"] == "success"
