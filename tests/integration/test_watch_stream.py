"""watch_stream over real parts: HTTP servers, the Pub/Sub and BigQuery emulators, Airflow itself.

Airflow runs in a process of its own, with a database of its own; each line it reads is one
`dag.test` of the DAG under the settings of that line.
"""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq
from google.cloud import pubsub_v1
from prometheus_client import generate_latest

from collector.budget import Budget
from collector.continuity import Continuity
from collector.intake import Intake
from collector.lane import LaneState
from collector.metrics import CollectorMetrics, new_registry
from collector.outbox import OutboxCounts
from collector.sealing import Sealer
from market_data.frames import frame_id
from market_data.tables import FRAME_SYMBOLS, FRAMES, HOLES, Table
from plugins.market_ops.stream import observe
from plugins.market_ops.stream.observations import JobState
from plugins.market_ops.stream.signals import suspects
from tests.integration.conftest import BigQuery, PubSub, new_project
from tests.integration.dag_runs import Airflow

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SECONDS = 60.0
EPOCH = 1_790_000_000_000_000
COLLECTOR = "c1"
MARTS = """
create table `{project}.marts.ohlcv_1h` (
  market string, symbol string, opened_at timestamp, trades int64, missing_trades int64
);
create table `{project}.marts.market_completeness` (
  market string, symbol string, traded_on date, last_id int64, present int64, missing int64,
  missing_before int64, healed int64, verdict string
);
create table `{project}.marts.pipeline_latency` (
  market string, stage string, opened_at timestamp, p50_us int64, p99_us int64
);
"""
HOLES_TABLE = """
create table `{project}.intermediate.int_id_holes` (
  market string, symbol string, first_missing_id int64, last_missing_id int64, missing int64,
  previous_traded_at timestamp, next_traded_at timestamp, is_unpublished bool
)
"""


class Server:
    """An HTTP server whose answers are set from outside: path to status and body."""

    def __init__(self, port: int = 0) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                path = urllib.parse.urlsplit(self.path).path
                status, body = outer.answers.get(path, (404, b""))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Collector(Server):
    """A collector's endpoints: its own metrics, and health in the shape of its service."""

    def show(self, *, spooled: int, pending: int = 0, status: str = "ok") -> None:
        states = [("trade-1", LaneState(is_open=status == "ok", connects=1))]
        outbox = SimpleNamespace(
            counts=OutboxCounts(spooled_frames=spooled, published_frames=spooled - pending),
            pending_frames=pending,
            spool_bytes=0,
        )
        sealer = Sealer(market="spot", collector=COLLECTOR, epoch=EPOCH, with_quantities=False)
        continuity = Continuity("spot")
        intake = Intake(
            sealer,
            continuity,
            outbox,  # type: ignore[arg-type]
            run_id=f"{COLLECTOR}/{EPOCH}",
            frame_bytes=1000,
            heal_max_ids=10,
            grace=1.0,
        )
        intake.messages["trade"] = 5
        metrics = CollectorMetrics(outbox, lambda: states, intake, continuity, Budget())  # type: ignore[arg-type]
        health = {
            "status": status,
            "collector": COLLECTOR,
            "epoch": EPOCH,
            "is_dropping": False,
            "pending_frames": pending,
            "connections": {
                name: {"is_open": state.is_open, "connects": 1, "failures": 0, "last_end": "cut"}
                for name, state in states
            },
        }
        self.answers = {
            "/healthz": (200 if status == "ok" else 503, json.dumps(health).encode()),
            "/metrics": (200, generate_latest(new_registry(metrics))),
        }


class Warehouse:
    """One project of the emulator with the ledgers' tables."""

    def __init__(self, url: str) -> None:
        self.project = new_project()
        self.client = bq.Client(
            self.project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": url},
        )
        for dataset in ("ops", "intermediate", "marts"):
            self.client.create_dataset(dataset, timeout=SECONDS, retry=None)
        for table in (FRAMES, FRAME_SYMBOLS, HOLES):
            schema = [bq.SchemaField.from_api_repr(field) for field in table.bigquery_schema]
            created = bq.Table(f"{self.project}.{table.full_name}", schema=schema)
            self.client.create_table(created, timeout=SECONDS, retry=None)

    def run(self, sql: str) -> None:
        self.client.query_and_wait(
            sql.replace("{project}", self.project),
            wait_timeout=SECONDS,
            retry=None,
            job_retry=None,
        )

    def insert(self, table: Table, rows: list[dict[str, Any]]) -> None:
        errors = self.client.insert_rows_json(
            f"{self.project}.{table.full_name}",
            [
                {
                    key: value.isoformat() if isinstance(value, datetime) else value
                    for key, value in row.items()
                }
                for row in rows
            ],
            timeout=SECONDS,
            retry=None,
        )
        assert errors == []

    def forget(self) -> None:
        self.run("delete from `{project}.ops.frames` where true")
        self.run("delete from `{project}.ops.frame_symbols` where true")
        self.run("delete from `{project}.ops.holes` where true")
        self.run("drop table if exists `{project}.intermediate.int_id_holes`")


def frame(sequence: int, closed_at: datetime, **changes: Any) -> dict[str, Any]:
    row = {
        "frame_id": frame_id(COLLECTOR, EPOCH, sequence),
        "market": "spot",
        "channel": "trade",
        "collector": COLLECTOR,
        "epoch": EPOCH,
        "sequence": sequence,
        "source": "stream",
        **dict.fromkeys(("header_lines", "lines", "loaded_rows"), 1),
        **dict.fromkeys(("ignored_lines", "rejected_lines"), 0),
        **dict.fromkeys(("body_bytes", "message_bytes"), 1),
        **dict.fromkeys(("opened_at", "closed_at", "published_at"), closed_at),
        "loaded_at": closed_at + timedelta(seconds=1),
    }
    return row | changes


def attempt(symbol: str, first: int, last: int, outcome: str, **changes: Any) -> dict[str, Any]:
    """Return a row of ops.holes."""
    types = {"INTEGER": 0, "INT64": 0, "TIMESTAMP": NOW}
    row = {field["name"]: types.get(field["type"], "") for field in HOLES.bigquery_schema}
    return {
        **row,
        **{"market": "spot", "channel": "trade", "symbol": symbol, "outcome": outcome},
        **{"first_missing_id": first, "last_missing_id": last, "missing": last - first + 1},
        **changes,
    }


def arrival(
    symbol: str, last_id: int, loaded_at: datetime, collector: str = COLLECTOR
) -> dict[str, Any]:
    return {
        "frame_id": frame_id(collector, EPOCH, last_id),
        "market": "spot",
        "channel": "trade",
        "symbol": symbol,
        "first_id": last_id,
        "last_id": last_id,
        "first_at": loaded_at,
        "last_at": loaded_at,
        "count": 1,
        "sum_ids": str(last_id),
        "loaded_at": loaded_at,
    }


@pytest.fixture(scope="module")
def module_warehouse(bigquery: BigQuery) -> Warehouse:
    return Warehouse(bigquery.rest_url)


@pytest.fixture
def warehouse(module_warehouse: Warehouse) -> Warehouse:
    module_warehouse.forget()
    return module_warehouse


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.stop()


@pytest.fixture
def exchange() -> Iterator[Server]:
    server = Server()
    server.answers["/api/v3/ping"] = (200, b"{}")
    yield server
    server.stop()


@contextlib.contextmanager
def broker_clients(pubsub: PubSub) -> Iterator[tuple[Any, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", pubsub.grpc_host)
        with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
            yield publisher, subscriber


def subscribe(pubsub: PubSub, project: str, name: str) -> None:
    """Make a topic and a subscription of one name."""
    topic = f"projects/{project}/topics/{name}"
    with broker_clients(pubsub) as (publisher, subscriber):
        publisher.create_topic(name=topic)
        subscriber.create_subscription(name=f"projects/{project}/subscriptions/{name}", topic=topic)


def no_wait(seconds: float) -> None:
    pass


NOW = datetime.now(UTC).replace(microsecond=0)


def test_a_collector_is_read_as_it_describes_itself(collector: Collector) -> None:
    collector.show(spooled=1_234, pending=3)
    seen = observe.observe_collector(collector.url, no_wait)
    assert (seen.error, seen.status, seen.collector, seen.epoch) == ("", "ok", COLLECTOR, EPOCH)
    assert (seen.spooled_frames, seen.pending_frames) == (1_234, 3)
    assert (seen.open_connections, seen.connections, seen.last_end) == (1, 1, "")
    collector.show(spooled=1, status="failing")
    seen = observe.observe_collector(collector.url, no_wait)
    assert (seen.status, seen.open_connections, seen.last_end) == ("failing", 0, "cut")


def test_a_job_says_whether_it_runs() -> None:
    server = Server()
    server.answers["/healthz"] = (200, b'{"status": "running"}')
    assert observe.observe_local_job(server.url, no_wait).state is JobState.RUNNING
    server.answers["/healthz"] = (503, b'{"status": "failed"}')
    assert observe.observe_local_job(server.url, no_wait).state is JobState.DOWN
    server.stop()
    seen = observe.observe_local_job(server.url, no_wait)
    assert seen.state is JobState.DOWN
    assert "does not answer: ConnectError" in seen.detail


def test_the_exchange_is_a_witness(exchange: Server) -> None:
    old = int((NOW - timedelta(minutes=10)).timestamp() * 1000)
    trades = [{"a": 1, "f": 9, "l": 9, "T": old}, {"a": 2, "f": 10, "l": 11, "T": old}]
    exchange.answers["/api/v3/aggTrades"] = (200, json.dumps(trades).encode())
    seen = observe.observe_exchange(exchange.url, {"A": 10, "B": 11}, NOW, no_wait)
    assert (seen.error, seen.asked, seen.ahead) == ("", ("A", "B"), ("A",))
    assert exchange.asked[1] == "/api/v3/aggTrades?symbol=A&limit=100"
    # a symbol that is no longer listed
    exchange.answers["/api/v3/aggTrades"] = (400, b'{"code": -1121, "msg": "Invalid symbol."}')
    assert observe.observe_exchange(exchange.url, {"A": 10}, NOW, no_wait).ahead == ()


def test_a_subscription_that_is_missing_is_the_brokers_fault(pubsub: PubSub) -> None:
    project = new_project()
    with broker_clients(pubsub) as (_, subscriber):
        seen = observe.observe_broker(lambda: subscriber, project, "frames", no_wait)
        assert seen.error.startswith("NotFound: ")
        subscribe(pubsub, project, "frames")
        seen = observe.observe_broker(lambda: subscriber, project, "frames", no_wait)
        assert seen.error == ""


class TestWarehouse:
    """The ledgers' queries on a BigQuery emulator."""

    def seen(self, warehouse: Warehouse) -> Any:
        seen = observe.observe_warehouse(lambda: warehouse.client, NOW, no_wait)
        assert seen.error == ""
        return seen

    def test_empty_and_missing_tables_hold_nothing(self, warehouse: Warehouse) -> None:
        seen = self.seen(warehouse)
        assert (seen.lives, seen.symbols, seen.holes) == ((), (), ())

    def test_sequences_are_missing_once_later_ones_have_settled(self, warehouse: Warehouse) -> None:
        long_ago = NOW - timedelta(minutes=30)
        rows = [
            *(frame(n, long_ago) for n in (5, 6, 6, 10)),  # 7 and 8 are missing; 6 came twice
            frame(9, long_ago, source="rest"),  # the collector healed something itself
            *(frame(n, NOW - timedelta(seconds=9)) for n in (11, 13)),  # 12 may be on its way
            frame(1, long_ago, epoch=EPOCH + 1),
            frame(3, long_ago, source="rest", collector="repair"),
            frame(2, NOW - timedelta(days=3)),
        ]
        warehouse.insert(FRAMES, rows)
        first, second = self.seen(warehouse).lives
        assert (first.epoch, first.last_sequence, first.missing) == (EPOCH, 13, 2)
        assert first.closed_at == NOW - timedelta(seconds=9)
        assert (second.epoch, second.last_sequence, second.missing) == (EPOCH + 1, 1, 0)

    def test_frames_that_overtake_each_other_at_the_edges_are_not_missing(
        self, warehouse: Warehouse
    ) -> None:
        settled, since = NOW - observe.SETTLED, NOW - observe.LOOKBACK
        second = timedelta(seconds=1)
        rows = [
            frame(10, since + second),
            frame(11, since - second),  # closed before its forerunner
            frame(12, since + second),
            frame(20, settled + second),
            frame(21, settled - second),
            *(frame(n, NOW - timedelta(hours=1)) for n in range(13, 20)),
        ]
        warehouse.insert(FRAMES, rows)
        (life,) = self.seen(warehouse).lives
        assert (life.last_sequence, life.missing) == (21, 0)

    def test_silence_is_counted_in_minutes_in_which_the_market_was_heard(
        self, warehouse: Warehouse
    ) -> None:
        warehouse.insert(FRAMES, [frame(1, NOW - timedelta(minutes=1))])
        start = NOW - timedelta(hours=10)

        def minute(number: int) -> datetime:
            return start + timedelta(minutes=number)

        # the market was heard in minutes 0 to 99, then nobody for five hours, then 400 to 420
        heard = [*range(100), *range(400, 421)]
        rows = [arrival("BUSY", 1000 + n, minute(n)) for n in heard]
        rows += [arrival("SLOW", 50 + n, minute(n)) for n in (0, 40, 60, 410)]
        rows += [arrival("LOST", 70 + n, minute(n)) for n in (0, 1, 2, 5)]
        # what a repair brings is no sign of life
        rows += [arrival("LOST", 5, minute(415), collector="repair")]
        warehouse.insert(FRAME_SYMBOLS, rows)
        symbols = {each.symbol: each for each in self.seen(warehouse).symbols}
        found = {
            name: (each.last_id, each.silent_minutes, each.usual_minutes, each.heard_minutes)
            for name, each in symbols.items()
        }
        assert found == {
            "BUSY": (1420, 0, 0, 121),
            "SLOW": (460, 10, 49, 4),
            "LOST": (75, 115, 2, 4),
        }
        assert [each.symbol for each in suspects(list(symbols.values()), 3600)] == ["LOST"]

    def test_open_holes_are_told_once_they_have_settled(self, warehouse: Warehouse) -> None:
        warehouse.run(HOLES_TABLE)
        warehouse.run(
            "insert into `{project}.intermediate.int_id_holes` values"
            " ('spot', 'A', 5, 6, 2, '2026-11-01', '2026-11-02', false),"
            " ('spot', 'B', 5, 9, 5, '2026-11-01', '2026-11-02', false),"
            " ('spot', 'C', 5, 9, 5, '2026-11-01', '2026-11-02', true),"
            " ('spot', 'D', 5, 9, 5, '2026-11-01', timestamp_sub(current_timestamp(),"
            " interval 4 minute), false)"
        )
        holes = self.seen(warehouse).holes
        assert [(hole.symbol, hole.missing) for hole in holes] == [("B", 5), ("A", 2)]
        assert holes[1].before == datetime(2026, 11, 1, tzinfo=UTC)

    def test_ids_that_are_absent_at_the_source_are_no_hole(self, warehouse: Warehouse) -> None:
        warehouse.run(HOLES_TABLE)
        warehouse.run(
            "insert into `{project}.intermediate.int_id_holes` values"
            " ('spot', 'A', 5, 6, 2, '2026-11-01', '2026-11-02', false),"
            " ('spot', 'B', 5, 19, 15, '2026-11-01', '2026-11-02', false),"
            " ('spot', 'C', 5, 6, 2, '2026-11-01', '2026-11-02', false)"
        )
        warehouse.insert(
            HOLES,
            [
                attempt("A", 5, 6, "absent_at_source"),
                attempt("B", 8, 9, "absent_at_source"),
                attempt("B", 11, 12, "failed"),
                attempt("C", 5, 6, "absent_at_source", channel="aggTrade"),
            ],
        )
        found = [(hole.symbol, hole.first_id, hole.last_id) for hole in self.seen(warehouse).holes]
        assert found == [("B", 10, 19), ("B", 5, 7), ("C", 5, 6)]


# Airflow

# Each line is the settings of a run, and the environment that differs in it.
RUNS = """
import time
import watch_stream as module
from market_ops.stream import watch

class Dataflow:
    def __init__(self):
        self.found, self.launched = [], 0
    def get_conn(self):
        return self
    projects = locations = jobs = get_conn
    def list(self, **arguments):
        return self
    def execute(self, num_retries):
        return {"jobs": self.found}
    def launch_job_with_flex_template(self, **arguments):
        self.launched += 1
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        times = {"currentStateTime": now, "createTime": now}
        self.found = [{"id": "j1", "currentState": "JOB_STATE_QUEUED", **times}]
        return self.found[0]

dag, dataflow, notices = module.watch_stream(), Dataflow(), []
watch._dataflow_hook = lambda: dataflow
watch.notify = lambda subject, body: notices.append(subject)
watch.observe.observe_backlog = lambda connect, project, subscription, seen, at: seen
watch.observe.PAUSE_SECONDS = 0.01
environment = dict(os.environ)

def look(asked):
    os.environ.update(environment | asked["environment"])
    os.environ["AIRFLOW_VAR_MARKET_OPS"] = json.dumps(asked["settings"])
    notices.clear()
    return told(dag.test(), notices=notices, launched=dataflow.launched)

serve(look)
"""


def test_faults_are_seen_told_once_and_cleared(
    bigquery: BigQuery,
    pubsub: PubSub,
    warehouse: Warehouse,
    collector: Collector,
    exchange: Server,
    tmp_path: Path,
    airflow_database: Path,
) -> None:
    """The life of a stream: well, then one part after the other dies and comes back."""
    now = datetime.now(UTC)
    subscribe(pubsub, warehouse.project, "frames")
    warehouse.insert(FRAMES, [frame(n, now) for n in range(1, 11)])
    minutes = [now - timedelta(minutes=n) for n in range(200)]
    arrivals = [arrival("BUSY", 500 - n, at) for n, at in enumerate(minutes)]
    # two hours silent, and heard every minute before
    arrivals += [arrival("LOST", 500 - n, at) for n, at in enumerate(minutes) if n > 120]
    warehouse.insert(FRAME_SYMBOLS, arrivals)
    collector.show(spooled=10)
    job = Server()
    job.answers["/healthz"] = (200, b'{"status": "running"}')
    trade = {"a": 1, "f": 379, "l": 379, "T": int(now.timestamp() * 1000) - 7_200_000}
    exchange.answers["/api/v3/aggTrades"] = (200, json.dumps([trade]).encode())
    settings = {
        "project": warehouse.project,
        "bucket": "my-bucket",
        "subscription": "frames",
        "collector_urls": [collector.url],
        "job_url": job.url,
        "exchange_url": exchange.url,
    }
    dead = {"collector_urls": ["http://127.0.0.1:9"]}

    emulators = bigquery.environment | pubsub.environment
    with Airflow(RUNS, tmp_path, airflow_database, emulators) as airflow:

        def run(environment: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
            return airflow.ask(settings=settings | changes, environment=environment or {})

        # LOST trades no more at the exchange either
        assert_well(run(), [])
        # collector dead
        assert_fails(run(**dead), ["collector"], ["collector at fault: collector away"])
        assert_fails(run(**dead), ["collector"], [])
        # job dead
        job.stop()
        over = "collector is well again: collector away is over"
        assert_fails(run(), ["job"], [over, "job at fault: job down"])
        job = Server(job.port)
        job.answers["/healthz"] = (200, b'{"status": "running"}')
        assert_well(run(), ["job is well again: job down is over"])
        # stale symbol: LOST has traded on at the exchange
        newer = [trade, trade | {"l": 380}]
        exchange.answers["/api/v3/aggTrades"] = (200, json.dumps(newer).encode())
        assert_fails(run(), ["collector"], ["collector at fault: symbols stale"])
        # warehouse away: what it alone can tell stays as it was
        away = {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9"}
        told = ["warehouse at fault: warehouse away"]
        assert_fails(run(away), ["collector", "warehouse"], told)
        exchange.answers["/api/v3/aggTrades"] = (200, json.dumps([trade]).encode())
        over = [
            "collector is well again: symbols stale is over",
            "warehouse is well again: warehouse away is over",
        ]
        assert_well(run(), over)
        # broker
        told = ["broker at fault: broker away"]
        assert_fails(run(subscription="no-such"), ["broker"], told)
        assert_well(run(), ["broker is well again: broker away is over"])
        # Dataflow: started once, and left alone while it starts
        dataflow = {"job_name": "stream", "region": "europe-west1", "template": "gs://b/t.json"}
        answer = run(dataflow=dataflow)
        assert_fails(answer, ["job"], ["job at fault: job down"])
        assert (answer["tasks"]["start_job"], answer["launched"]) == ("success", 1)
        answer = run(dataflow=dataflow)
        assert_well(answer, ["job is well again: job down is over"])
        assert answer["launched"] == 1
    job.stop()


def assert_well(answer: dict[str, Any], notices: list[str]) -> None:
    assert answer["notices"] == notices
    assert answer["state"] == "success"
    done = {name for name, state in answer["tasks"].items() if state == "success"}
    assert done == {"look", "all_well"}
    assert set(answer["tasks"].values()) == {"success", "skipped"}


def assert_fails(answer: dict[str, Any], stages: list[str], notices: list[str]) -> None:
    assert answer["notices"] == notices
    assert answer["state"] == "failed"
    failed = [name for name, state in answer["tasks"].items() if state == "failed"]
    assert sorted(failed) == sorted(stages)
    assert answer["tasks"]["look"] == "success"
    assert answer["tasks"]["all_well"] == "skipped"


# Each line is a request; a person who is logged in has the cookie that Airflow's login sets.
PAGE = """
os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
from pathlib import Path
from airflow.api_fastapi.app import create_app
from fastapi.testclient import TestClient
from airflow.models import Variable
from market_ops.stream import page
page.CACHE_SECONDS = 0.0
with TestClient(create_app(), base_url="http://testserver") as client:
    passwords = Path(os.environ["AIRFLOW_HOME"], "simple_auth_manager_passwords.json.generated")
    person = {"username": "someone", "password": json.loads(passwords.read_text())["someone"]}
    token = client.post("/auth/token", json=person).json()["access_token"]

    def get(asked):
        if asked.get("state"):
            Variable.set("market_ops_stream", json.dumps(asked["state"]))
        client.cookies.clear()
        if asked["is_logged_in"]:
            client.cookies.set("_token", token)
        answer = client.get(asked["path"], follow_redirects=False)
        found = {"status": answer.status_code, "text": answer.text}
        return found | {"headers": dict(answer.headers)}

    serve(get)
"""


def test_the_page_inside_airflow(
    bigquery: BigQuery, tmp_path: Path, airflow_database: Path
) -> None:
    warehouse = Warehouse(bigquery.rest_url)
    settings = {"project": warehouse.project, "bucket": "my-bucket"}
    with Airflow(PAGE, tmp_path, airflow_database, bigquery.environment) as airflow:

        def get(path: str = "/stream-health/", is_logged_in: bool = True, **more: Any) -> Any:
            question = {"settings": settings, "path": path, "is_logged_in": is_logged_in}
            return airflow.ask(**question | more)

        # who is not logged in is refused, and told nothing
        refused = get(is_logged_in=False)
        assert (refused["status"], refused["text"]) == (401, '{"detail":"Not authenticated"}')
        assert get("/stream-health/openapi.json")["status"] == 404
        # nothing was loaded, nothing was looked at
        empty = get()
        assert (empty["status"], "Not looked at yet" in empty["text"]) == (200, True)
        assert "No trades in the marts yet" in empty["text"]
        assert "default-src 'none'" in empty["headers"]["content-security-policy"]
        # planted marts, with a symbol that wants to be markup
        plant(warehouse)
        seen = get(state={"looked_at": NOW.isoformat(), "summary": {}, "incidents": []})
        assert seen["status"] == 200
        assert "The stream is well" in seen["text"]
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in seen["text"]
        assert "<script" not in seen["text"]
        assert seen["text"].index("BADUSDT") < seen["text"].index("BTCUSDT")
        assert ': 7 trades missing"' in seen["text"]
        assert "<td>exchange to BigQuery</td>" in seen["text"]
        assert "1,234 ms" in seen["text"]
        assert "never sent by the exchange" in seen["text"]
        assert "absent at the source" in seen["text"]
        # Airflow has it in its navigation, and imported no other file of the folder
        plugins = json.loads(get("/api/v2/plugins")["text"])["plugins"]
        (ours,) = [each for each in plugins if each["name"] == "market_ops"]
        assert [each["url_route"] for each in ours["external_views"]] == ["stream-health"]
        errors = json.loads(get("/api/v2/plugins/importErrors")["text"])
        assert errors["import_errors"] == []
        # the warehouse goes away: the page stays
        settings["project"] = "no-such-project"
        gone = get()
        assert (gone["status"], "The stream is well" in gone["text"]) == (200, True)


def plant(warehouse: Warehouse) -> None:
    warehouse.run(MARTS)
    warehouse.run(HOLES_TABLE)
    warehouse.run(
        "insert into `{project}.marts.ohlcv_1h` values"
        " ('spot', 'BTCUSDT', timestamp_trunc(current_timestamp(), hour), 900, 0),"
        " ('spot', 'BADUSDT', timestamp_trunc(current_timestamp(), hour), 5, 7)"
    )
    warehouse.run(
        "insert into `{project}.marts.market_completeness` values"
        " ('spot', 'BTCUSDT', current_date(), 1700, 1700, 0, 0, 0, 'PROVISIONAL'),"
        " ('spot', 'BADUSDT', current_date(), 12, 5, 7, 0, 0, 'INCOMPLETE'),"
        " ('spot', '<script>alert(1)</script>', current_date(), 1, 1, 0, 0, 0, 'FINAL')"
    )
    warehouse.run(
        "insert into `{project}.marts.pipeline_latency` values"
        " ('spot', 'exchange_to_loaded', current_timestamp(), 1234000, 56000000)"
    )
    warehouse.run(
        "insert into `{project}.intermediate.int_id_holes` values"
        " ('spot', 'BADUSDT', 5, 11, 7, '2026-11-01', '2026-11-02', false),"
        " ('spot', 'FUTURE', 5, 6, 2, '2026-11-01', '2026-11-02', true),"
        " ('spot', 'NEVER', 5, 6, 2, '2026-11-01', '2026-11-02', false)"
    )
    warehouse.insert(HOLES, [attempt("NEVER", 1, 9, "absent_at_source")])
