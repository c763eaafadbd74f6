"""backfill_history over real parts: an archive at our border, Cloud Storage, BigQuery, Airflow.

The simulated exchange is the archive of a whole day; a stand-in has what that one never gives.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq
from google.cloud import storage

from beam_jobs.tables import create_tables
from plugins.market_ops.backfill import load as loading
from plugins.market_ops.backfill.load import StagingDiffers, finished, load
from plugins.market_ops.backfill.stage import KINDS, Staged, Stager
from plugins.market_ops.backfill.tables import Day
from sandbox.probes import free_ports, http_probe
from sandbox.warehouse import Warehouse
from tests.integration.conftest import HOST, BigQuery, Gcs, new_project, running
from tests.integration.dag_runs import Airflow
from tests.plugins.backfill import samples
from tests.plugins.backfill.samples import DAY, MINUTE, Trade
from tests.plugins.backfill.test_stage import NOW, TRADED

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

_buckets = itertools.count(1)
ONCE: dict[str, Any] = {"retry": None, "timeout": 15}

RUNS = """
import backfill_history as module
from market_ops.backfill import run as code
dag, real, reasons = module.backfill_history(), code.backfill, []

def backfill(*arguments):
    try:
        return real(*arguments)
    except Exception as error:
        reasons.append(str(error))
        raise

code.backfill = backfill
for each in dag.tasks:
    each.retries, each.on_failure_callback = 0, []

def load(asked):
    reasons.clear()
    return told(dag.test(run_conf=asked["conf"]), reasons=reasons)

serve(load)
"""


@dataclass
class Place:
    """A project and a bucket of the test's own."""

    project: str
    bucket: storage.Bucket
    client: bq.Client
    warehouse: Warehouse
    emulators: dict[str, str]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.warehouse.rows(sql)


@pytest.fixture
def place(gcs: Gcs, bigquery: BigQuery, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    emulators = gcs.environment | bigquery.environment
    for name, value in emulators.items():
        monkeypatch.setenv(name, value)
    project = new_project()
    create_tables(project, "US")
    anonymous = AnonymousCredentials()
    objects = storage.Client(project, credentials=anonymous)
    client = bq.Client(
        project, credentials=anonymous, client_options={"api_endpoint": bigquery.rest_url}
    )
    with Warehouse(project, bigquery.rest_url) as warehouse:
        bucket = objects.create_bucket(f"backfill-{next(_buckets)}", **ONCE)
        yield Place(project, bucket, client, warehouse, emulators)
    client.close()
    objects.close()


def day_files(trades: list[Trade] = TRADED, **texts: str) -> dict[str, bytes]:
    made = {
        f"BTCUSDT-1m-{DAY}": samples.kline_rows(trades),
        f"BTCUSDT-trades-{DAY}": samples.trade_rows(trades),
        f"BTCUSDT-aggTrades-{DAY}": samples.agg_trade_rows(trades),
    }
    return samples.files(made | texts)


def staged(folder: Path, trades: list[Trade] = TRADED, *kinds: str) -> list[Staged]:
    archive = samples.vision(day_files(trades))
    return list(Stager(archive, "BTCUSDT", DAY, folder, NOW).stage(kinds or KINDS))


SUMS = """
select count(*) as n, sum(trade_id) as ids, sum(quantity) as quantity,
    sum(quote_quantity) as quote
from `{project}.raw.trades` where traded_at >= timestamp '2026-03-01' and source = 'archive'
"""


def totals(place: Place) -> tuple[Any, ...]:
    (row,) = place.rows(SUMS)
    return tuple(row.values())


def test_a_day_is_swapped_in_and_entered(place: Place, tmp_path: Path) -> None:
    for each in staged(tmp_path):
        load(place.client, place.bucket, each)
    quote = sum(samples.quote(price, quantity) for _, price, quantity, _, _ in TRADED)
    assert totals(place) == (3, 24, Decimal("0.40000003"), quote)
    entries = place.rows(
        "select frame_id, channel, source, lines, loaded_rows, rejected_lines, sum_ids,"
        " sum_quantity from `{project}.ops.frames` order by frame_id"
    )
    assert [(row["channel"], row["lines"], row["loaded_rows"]) for row in entries] == [
        ("aggTrade", 3, 3),
        ("kline", 1440, 1440),
        ("trade", 3, 3),
    ]
    assert (entries[2]["sum_ids"], entries[2]["sum_quantity"]) == (24, Decimal("0.40000003"))
    assert {row["source"] for row in entries} == {"archive"}
    symbols = place.rows(
        "select channel, symbol, first_id, last_id, first_at, last_at, count"
        " from `{project}.ops.frame_symbols` order by channel"
    )
    start = Day("BTCUSDT", "trades", DAY).start
    assert list(symbols[2].values()) == [
        *("trade", "BTCUSDT", 7, 9),
        start + timedelta(microseconds=5),
        start + timedelta(minutes=3),
        3,
    ]
    (kline,) = place.rows(
        "select * from `{project}.raw.klines` where opened_at = timestamp '2026-03-01'"
    )
    assert (kline["first_trade_id"], kline["last_trade_id"], kline["trades"]) == (7, 8, 2)
    assert (kline["open"], kline["close"]) == (Decimal("60000.1"), Decimal("60000.2"))
    # Nothing of the staging is left.
    assert list(place.bucket.list_blobs(**ONCE)) == []
    tables = {table.table_id for table in place.client.list_tables("ops", **ONCE)}
    assert not [name for name in tables if name.startswith("backfill_")]
    units = [Day("BTCUSDT", kind, DAY) for kind in (*KINDS,)]
    assert finished(place.client, units) == {unit.frame_id for unit in units}
    assert finished(place.client, [Day("ETHUSDT", "trades", DAY)]) == set()


def test_a_repetition_replaces_exactly_the_day(place: Place, tmp_path: Path) -> None:
    (first,) = staged(tmp_path, TRADED, "trades")
    load(place.client, place.bucket, first)
    other = "archive.BTCUSDT.trades/1/1"  # of another day, and of the stream
    place.rows(
        "insert into `{project}.raw.trades` select * replace ('" + other + "' as frame_id)"  # noqa: S608
        " from `{project}.raw.trades` where traded_at >= timestamp '2026-03-01' and trade_id = 7"
    )
    replaced: list[Trade] = [*TRADED[:2], (10, "5", "1", 9 * MINUTE, True)]
    (second,) = staged(tmp_path, replaced, "trades")
    for _ in range(2):
        load(place.client, place.bucket, second)
    found = place.rows(
        "select trade_id, frame_id from `{project}.raw.trades`"
        " where traded_at >= timestamp '2026-03-01' order by trade_id, frame_id"
    )
    own = second.unit.frame_id
    assert [(row["trade_id"], row["frame_id"]) for row in found] == sorted(
        [(7, own), (8, own), (10, own), (7, other)]
    )
    (entry,) = place.rows("select loaded_rows, sum_ids from `{project}.ops.frames`")
    assert (entry["loaded_rows"], entry["sum_ids"]) == (3, 25)
    (symbol,) = place.rows("select count, last_id from `{project}.ops.frame_symbols`")
    assert tuple(symbol.values()) == (3, 10)


def test_killed_before_the_ledger_it_is_done_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (day,) = staged(tmp_path, TRADED, "trades")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loading, "_enter", killed)
        with pytest.raises(KeyboardInterrupt):
            load(place.client, place.bucket, day)
    assert totals(place)[0] == 3
    assert finished(place.client, [day.unit]) == set()
    load(place.client, place.bucket, day)
    assert totals(place)[:2] == (3, 24)
    assert finished(place.client, [day.unit]) == {day.unit.frame_id}


def test_what_bigquery_did_not_take_whole_is_not_swapped_in(place: Place, tmp_path: Path) -> None:
    (day,) = staged(tmp_path, TRADED, "trades")
    day.totals.sum_quantity += Decimal("0.00000001")
    with pytest.raises(StagingDiffers, match="nothing was swapped in"):
        load(place.client, place.bucket, day)
    assert totals(place)[0] == 0


class Archive:
    """An HTTP server with the files of data.binance.vision."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.files.get(self.path.rsplit("/", 1)[1])
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def archive() -> Iterator[Archive]:
    it = Archive()
    yield it
    it.stop()


def test_the_dag_loads_leaves_out_and_refuses(
    place: Place, archive: Archive, tmp_path: Path, airflow_database: Path
) -> None:
    settings = {"project": place.project, "bucket": place.bucket.name, "vision_url": archive.url}
    conf = {"symbols": ["btcusdt"], "first_day": f"{DAY}", "last_day": f"{DAY}"}
    with Airflow(RUNS, tmp_path, airflow_database, place.emulators) as airflow:

        def run(**changes: Any) -> dict[str, Any]:
            return airflow.ask(settings=settings, conf=conf | changes)

        def refused(files: dict[str, bytes], reason: str) -> None:
            archive.files = files
            answer = run()
            assert answer["state"] == "failed"
            (told,) = answer["reasons"]
            assert reason in told

        good, name = day_files(), f"BTCUSDT-trades-{DAY}"
        bad = samples.trade_rows(TRADED).replace("0.1,", "0,1,")
        refused({}, "published on the next day")
        refused(day_files(**{name: bad}), f"{name}.csv, line 2: expected 7 columns, was 8")
        other = day_files(TRADED[:2])[f"{name}.zip"]
        refused(good | {f"{name}.zip": other}, "its CHECKSUM says")
        klines = {f"BTCUSDT-1m-{DAY}": samples.kline_rows(TRADED[:2])}
        refused(day_files(**klines), "00:03 has 1 trades, its kline 0")
        assert totals(place)[0] == 0
        # good; then there is nothing left to do, unless it is asked for again
        archive.files = good
        assert run()["state"] == "success"
        assert totals(place)[:2] == (3, 24)
        assert run()["tasks"] == {"find_days": "success", "backfill": "skipped"}
        assert run(again=True)["state"] == "success"
        assert totals(place)[:2] == (3, 24)
        (count,) = place.rows("select count(*) as n from `{project}.ops.frames`")
        assert count["n"] == 3
        # nonsense
        for wrong in ({"symbols": []}, {"last_day": "2999-01-01"}):
            answer = run(**wrong)
            assert (answer["state"], answer["tasks"]["find_days"]) == ("failed", "failed")


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[str]:
    """Return the address of a calm simulated exchange whose REST knows two days."""
    (port,) = free_ports(HOST, 1)
    command = [
        *(sys.executable, "-m", "sandbox.exchange", "--port", str(port), "--symbols", "1"),
        *("--rate", "1", "--calm-rate", "0.05", "--history", str(2 * 86_400)),
    ]
    url, log = f"http://{HOST}:{port}", tmp_path / "exchange.txt"
    with running("exchange", command, log, http_probe(f"{url}/sim/status")):
        yield url


def told_by_rest(url: str, start: datetime) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """Return a day's trades and 1m klines, times in microseconds."""
    first, last = (int(at.timestamp()) * 1_000_000 for at in (start, start + timedelta(days=1)))
    with httpx.Client(base_url=f"{url}/api/v3", headers={"X-MBX-TIME-UNIT": "MICROSECOND"}) as it:

        def get(path: str, **query: Any) -> Any:
            return it.get(path, params={"symbol": "BTCUSDT", "limit": 1000, **query}).json()

        klines: list[list[Any]] = []
        while len(klines) < 1440:
            after = klines[-1][0] + 1 if klines else first
            klines += get("/klines", interval="1m", startTime=after, endTime=last - 1)
        trades: list[dict[str, Any]] = []
        next_id = get("/aggTrades", startTime=first, limit=1)[0]["f"]
        while not trades or trades[-1]["time"] < last:
            trades += get("/historicalTrades", fromId=next_id)
            next_id = trades[-1]["id"] + 1
    return [row for row in trades if row["time"] < last], klines


def test_a_day_of_the_simulated_market(
    place: Place, exchange: str, tmp_path: Path, airflow_database: Path
) -> None:
    """What the exchange's archive gives is what its REST says, value by value."""
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start -= timedelta(days=1)
    settings = {"project": place.project, "bucket": place.bucket.name, "vision_url": exchange}
    day = f"{start.date()}"
    conf = {"symbols": ["BTCUSDT"], "first_day": day, "last_day": day}
    with Airflow(RUNS, tmp_path, airflow_database, place.emulators) as airflow:
        answer = airflow.ask(settings=settings, conf=conf)
    assert (answer["state"], answer["reasons"]) == ("success", [])
    trades, klines = told_by_rest(exchange, start)
    since = f"timestamp '{day}'"
    found = place.rows(
        "select trade_id, price, quantity, quote_quantity, unix_micros(traded_at) as at,"  # noqa: S608
        f" is_buyer_maker from `{{project}}.raw.trades` where traded_at >= {since} order by 1"
    )
    assert len(found) > 1000
    assert [tuple(row.values()) for row in found] == [
        (
            row["id"],
            *(Decimal(row[name]) for name in ("price", "qty", "quoteQty")),
            *(row["time"], row["isBuyerMaker"]),
        )
        for row in trades
    ]
    bars = place.rows(
        "select unix_micros(opened_at) as at, open, high, low, close, volume,"  # noqa: S608
        " unix_micros(closed_at) as closed, quote_volume, trades, taker_buy_volume,"
        f" taker_buy_quote_volume from `{{project}}.raw.klines` where opened_at >= {since}"
        " order by 1"
    )
    assert [tuple(row.values()) for row in bars] == [
        tuple(value if isinstance(value, int) else Decimal(value) for value in row[:11])
        for row in klines
    ]
    (aggregated,) = place.rows(
        "select sum(last_trade_id - first_trade_id + 1) as n, sum(quantity) as quantity"  # noqa: S608
        f" from `{{project}}.raw.agg_trades` where traded_at >= {since}"
    )
    assert aggregated["n"] == len(trades)
    assert aggregated["quantity"] == sum(Decimal(row["qty"]) for row in trades)
