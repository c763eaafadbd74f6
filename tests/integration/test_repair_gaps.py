"""repair_gaps over real parts: simulated exchange, Pub/Sub, the streaming job, BigQuery, Airflow.

A stand-in of the exchange and of data.binance.vision, at our border, gives what the simulated one
never does: refusals, ids that were never traded, broken files.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage

from sandbox.probes import free_ports, http_probe
from sandbox.warehouse import Warehouse
from tests.integration.conftest import HOST, BigQuery, Gcs, PubSub, new_project, running, wait_until
from tests.integration.dag_runs import Airflow
from tests.integration.test_stream_trades import ONCE, Platform
from tests.integration.test_watch_stream import HOLES_TABLE
from tests.plugins.backfill.samples import files

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

_buckets = itertools.count(1)

# Each line is the settings and the parameters of a run.
RUNS = """
import repair_gaps as module
from airflow.models import Variable
dag = module.repair_gaps()
for each in dag.tasks:
    each.retries, each.on_failure_callback = 0, []
dag.get_task("loaded").poke_interval = 1

def repair(asked):
    dag.get_task("loaded").timeout = asked["timeout"]
    run = dag.test(run_conf=asked["conf"])
    ban = Variable.get("market_ops_exchange", default_var=None, deserialize_json=True)
    return told(run, ban=ban)

serve(repair)
"""


class StandIn:
    """REST of one symbol and data.binance.vision; `refusals` are answered first."""

    def __init__(self) -> None:
        self.trades: dict[int, dict[str, Any]] = {}
        self.aggregates: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.has_rest = True
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = outer._answer(urllib.parse.urlsplit(self.path))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, asked: urllib.parse.SplitResult) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(asked.path)
        query = dict(urllib.parse.parse_qsl(asked.query))
        if asked.path.startswith("/data/"):
            body = self.files.get(asked.path.rsplit("/", 1)[1])
            return (200, {}, body) if body is not None else (404, {}, b"")
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return status, headers, b'{"code":-1003,"msg":"Too much request weight used."}'
        if not self.has_rest:
            return 404, {}, b"Not Found"
        if asked.path == "/api/v3/historicalTrades":
            ids = sorted(each for each in self.trades if each >= int(query["fromId"]))
            found: list[dict[str, Any]] = [self.trades[each] for each in ids[:1000]]
        else:
            found = self.aggregates
        return 200, {"X-MBX-USED-WEIGHT-1M": "25"}, json.dumps(found).encode()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def platform(
    pubsub: PubSub, gcs: Gcs, bigquery: BigQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Platform]:
    """A project with topic, subscription, bucket, and the streaming job running on them."""
    for name, value in (pubsub.environment | gcs.environment).items():
        monkeypatch.setenv(name, value)
    project, bucket = new_project(), f"repair-{next(_buckets)}"
    publisher = pubsub_v1.PublisherClient()
    with (
        Warehouse(project, bigquery.rest_url) as warehouse,
        pubsub_v1.SubscriberClient() as subscriber,
        contextlib.closing(storage.Client(project, credentials=AnonymousCredentials())) as client,
    ):
        it = Platform(
            *(pubsub, gcs, bigquery, project, bucket, tmp_path, publisher, warehouse),
            client.create_bucket(bucket, **ONCE),
        )
        publisher.create_topic(name=it.topic, **ONCE)
        request = {
            "name": it.subscription,
            "topic": it.topic,
            "ack_deadline_seconds": 60,
            "retain_acked_messages": True,
            "message_retention_duration": {"seconds": 3600},
        }
        subscriber.create_subscription(request=request, **ONCE)
        with it.job():
            yield it
    publisher.stop()
    publisher.transport.close()


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[str]:
    """Return the address of a simulated exchange with an hour of history."""
    (port,) = free_ports(HOST, 1)
    command = [
        *(sys.executable, "-m", "sandbox.exchange", "--port", str(port), "--symbols", "3"),
        *("--seed", "7", "--rate", "20"),
    ]
    url = f"http://{HOST}:{port}"
    with running("exchange", command, tmp_path / "exchange.log", http_probe(f"{url}/sim/status")):
        yield url


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    it = StandIn()
    yield it
    it.stop()


def emulators(platform: Platform) -> dict[str, str]:
    it = platform
    return it.pubsub.environment | it.gcs.environment | it.bigquery.environment


def settings(platform: Platform, url: str) -> dict[str, Any]:
    return {
        "project": platform.project,
        "bucket": platform.bucket,
        "topic": "frames",
        "subscription": "job",
        "exchange_url": url,
        "vision_url": url,
    }


def holes(platform: Platform, *rows: tuple[str, int, int, datetime, bool]) -> None:
    """Plant what the marts would show."""
    platform.rows("drop table if exists `{project}.intermediate.int_id_holes`")
    platform.rows(HOLES_TABLE)
    for symbol, first, last, at, is_unpublished in rows:
        time = f"timestamp '{at:%Y-%m-%d %H:%M:%S}+00'"
        values = f"'spot', '{symbol}', {first}, {last}, {last - first + 1}, {time}, {time}"
        platform.rows(
            "insert into `{project}.intermediate.int_id_holes`"  # noqa: S608
            f" values ({values}, {is_unpublished})"
        )


def recorded_holes(platform: Platform) -> list[dict[str, Any]]:
    return platform.rows(
        "select symbol, first_missing_id as first, last_missing_id as last, outcome, source,"
        " witnesses, frames, detail from `{project}.ops.holes`"
        " order by found_at, symbol, first_missing_id"
    )


def test_holes_are_healed_from_the_simulated_exchange(
    platform: Platform, exchange: str, tmp_path: Path, airflow_database: Path
) -> None:
    at = datetime.now(UTC) - timedelta(minutes=10)
    newest = {
        symbol: httpx.get(f"{exchange}/api/v3/trades?symbol={symbol}&limit=1").json()[0]["id"]
        for symbol in ("BTCUSDT", "ETHUSDT")
    }
    small = (newest["BTCUSDT"] - 500, newest["BTCUSDT"] - 451)
    large = (newest["ETHUSDT"] - 3000, newest["ETHUSDT"] - 1001)
    wait_until(lambda: exists(platform, "ops.holes"), "the job has made the tables")
    holes(
        platform,
        ("BTCUSDT", *small, at, False),
        ("ETHUSDT", *large, at, False),
        ("BTCUSDT", 5, 6, at, True),  # never sent: nobody asks for it
        ("BTCUSDT", 7, 8, datetime.now(UTC), False),  # frames may still overtake each other
    )
    with Airflow(RUNS, tmp_path, airflow_database, emulators(platform)) as airflow:

        def run(**conf: Any) -> dict[str, Any]:
            return airflow.ask(settings=settings(platform, exchange), conf=conf, timeout=60)

        assert run()["state"] == "success"
        assert [
            (row["symbol"], row["first"], row["last"], row["outcome"], row["source"])
            for row in recorded_holes(platform)
        ] == [
            ("BTCUSDT", *small, "healed", "rest"),
            ("ETHUSDT", *large, "healed", "rest"),
        ]
        found = platform.rows(
            "select symbol, count(*) as n, count(distinct trade_id) as ids, min(trade_id) as first,"
            " max(trade_id) as last from `{project}.raw.trades`"
            " where source = 'rest' and collector = 'repair' and traded_at > timestamp '2017-01-01'"
            " group by symbol order by symbol"
        )
        assert [tuple(row.values()) for row in found] == [
            ("BTCUSDT", 50, 50, *small),
            ("ETHUSDT", 2000, 2000, *large),
        ]
        # The same run of the marts again: what was healed just now is left alone.
        again = run()
        assert (again["state"], again["tasks"]["fetch"]) == ("success", "skipped")
        # By hand it is repaired again, and copies are removed by id downstream.
        assert run(symbol="BTCUSDT", first_id=small[0], last_id=small[0])["state"] == "success"
    # Row for row what the exchange says.
    asked = f"{exchange}/api/v3/historicalTrades?symbol=BTCUSDT&fromId={small[0]}&limit=50"
    official = {row["id"]: row for row in httpx.get(asked).json()}
    for row in platform.rows(
        "select * from `{project}.raw.trades`"
        " where symbol = 'BTCUSDT' and traded_at > timestamp '2017-01-01'"
    ):
        expected = official[row["trade_id"]]
        assert (row["price"], row["quantity"], row["quote_quantity"]) == tuple(
            Decimal(expected[key]) for key in ("price", "qty", "quoteQty")
        )
        assert row["is_buyer_maker"] == expected["isBuyerMaker"]
        assert int(row["traded_at"].timestamp() * 1000) == expected["time"]


def exists(platform: Platform, table: str) -> bool:
    try:
        platform.rows(f"select 1 from `{{project}}.{table}` limit 1")  # noqa: S608
    except Exception:
        return False
    return True


def traded(at: datetime, *ids: int) -> dict[int, dict[str, Any]]:
    return {
        each: {"id": each, "price": "1.50", "qty": "2", "quoteQty": "3", "isBuyerMaker": True}
        | {"time": int(at.timestamp() * 1000) + each, "isBestMatch": True}
        for each in ids
    }


def archive(at: datetime, *ids: int, **changes: str) -> dict[str, bytes]:
    lines = [
        f"{each},{changes.get(f'price_{each}', '1.50')},2,3,"
        f"{int(at.timestamp()) * 1_000_000 + each},True,True\n"
        for each in ids
    ]
    return files({f"BTCUSDT-trades-{at.date()}": "".join(lines)})


def test_refusals_absence_and_the_archive(
    platform: Platform, stand_in: StandIn, tmp_path: Path, airflow_database: Path
) -> None:
    """One kind of trouble after the other; each hole has ids of its own."""
    at = datetime.now(UTC).replace(hour=1) - timedelta(days=2)
    wait_until(lambda: exists(platform, "ops.holes"), "the job has made the tables")

    with Airflow(RUNS, tmp_path, airflow_database, emulators(platform)) as airflow:

        def run(first: int, last: int, timeout: int = 60) -> dict[str, Any]:
            holes(platform, ("BTCUSDT", first, last, at, False))
            told = settings(platform, stand_in.url)
            answer = airflow.ask(settings=told, conf={}, timeout=timeout)
            rows = [row for row in recorded_holes(platform) if row["first"] >= first]
            return (
                answer
                | {"rows": [(r["first"], r["last"], r["outcome"]) for r in rows]}
                | {"last": rows[-1] if rows else {}}
            )

        # 429: waits as long as it is told
        stand_in.trades = traded(at, *range(90, 200))
        stand_in.refusals = [(429, {"Retry-After": "1"})]
        answer = run(100, 109)
        assert (answer["state"], answer["rows"]) == ("success", [(100, 109, "healed")])

        # never traded, by two witnesses
        stand_in.trades = traded(at, *range(190, 205), *range(207, 300))
        stand_in.aggregates = [
            {"a": 1, "f": 190, "l": 204, "T": 1},
            {"a": 2, "f": 207, "l": 299, "T": 2},
        ]
        answer = run(200, 209)
        assert answer["state"] == "success"
        assert answer["rows"] == [
            (200, 204, "healed"),
            (205, 206, "absent_at_source"),
            (207, 209, "healed"),
        ]
        witness = recorded_holes(platform)[-2]["witnesses"]
        assert "aggregate 1 ends with trade 204, 2 begins with 207" in witness

        # REST has no historicalTrades: the archive, verified
        stand_in.has_rest = False
        stand_in.files = archive(at, *range(290, 400))
        answer = run(300, 309)
        assert (answer["state"], answer["rows"]) == ("success", [(300, 309, "healed")])
        assert answer["last"]["source"] == "archive"

        # a file that is not what its CHECKSUM says
        good, bad = archive(at, *range(390, 500)), archive(at, *range(390, 499))
        name = f"BTCUSDT-trades-{at.date()}.zip"
        stand_in.files = good | {name: bad[name]}
        answer = run(400, 409)
        assert (answer["state"], answer["rows"]) == ("failed", [(400, 409, "failed")])
        assert "its CHECKSUM says" in answer["last"]["detail"]

        # a mangled row
        stand_in.files = archive(at, *range(490, 600), price_503="1,5")
        answer = run(500, 509)
        assert (answer["state"], answer["rows"]) == ("failed", [(500, 509, "failed")])
        assert "line 14: expected 7 columns, was 8" in answer["last"]["detail"]

        # 418: nothing asks again before the ban is over, and people are told once
        stand_in.has_rest, stand_in.files = True, {}
        stand_in.trades = traded(at, *range(590, 800))
        stand_in.refusals = [(418, {"Retry-After": "300"})]
        answer = run(600, 609)
        assert (answer["state"], answer["rows"]) == ("failed", [(600, 609, "failed")])
        assert "REST: banned until" in answer["last"]["detail"]
        assert answer["ban"]["banned_until"] > datetime.now(UTC).timestamp() + 200
        stand_in.asked.clear()
        run(700, 709)
        assert [path for path in stand_in.asked if path.startswith("/api/")] == []


def test_frames_that_nobody_loads(
    pubsub: PubSub,
    bigquery: BigQuery,
    platform: Platform,
    stand_in: StandIn,
    tmp_path: Path,
    airflow_database: Path,
) -> None:
    """The topic takes the frames and the ledger never shows them: a subscription elsewhere."""
    at = datetime.now(UTC) - timedelta(hours=1)
    wait_until(lambda: exists(platform, "ops.holes"), "the job has made the tables")
    elsewhere = f"projects/{platform.project}/topics/elsewhere"
    platform.publisher.create_topic(name=elsewhere, **ONCE)
    stand_in.trades = traded(at, *range(90, 200))
    holes(platform, ("BTCUSDT", 100, 109, at, False))
    told = settings(platform, stand_in.url) | {"topic": "elsewhere"}
    with Airflow(RUNS, tmp_path, airflow_database, emulators(platform)) as airflow:
        answer = airflow.ask(settings=told, conf={}, timeout=3)
    assert answer["state"] == "failed"
    assert (answer["tasks"]["loaded"], answer["tasks"]["record"]) == ("failed", "failed")
    (row,) = recorded_holes(platform)
    assert (row["outcome"], "is not in ops.frames" in row["detail"]) == ("failed", True)
