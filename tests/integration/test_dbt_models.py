"""dbt over a real BigQuery emulator: recorded and made-up trades in, candles out.

One build serves all tests. The trades are loaded into a project of their own, so that other tests
may share the emulator. Expected candles come from `python_candles`, which knows nothing of dbt.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import itertools
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq

from market_data.decode import to_microseconds
from market_data.layouts import LAYOUTS, Layout
from market_data.numbers import quote_quantity
from market_data.tables import DATASETS, FRAME_SYMBOLS, KLINES, TABLES, TRADES, Table
from tests.integration.conftest import EMULATORS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

ROOT = Path(__file__).parents[2]
DBT = ROOT / "dbt"
DATA = ROOT.parent / "shared" / "data"
RECORDED_TRADES = DATA / "ws" / "btcusdt_20240808.spot.gz"
RECORDED_KLINES = DATA / "klines" / "BTCUSDT-5m-2024-08-08.csv"
RECORDED_CANDLE = datetime(2024, 8, 8, 23, 55, tzinfo=UTC)

SECONDS = 60.0
MINUTE = timedelta(minutes=1)
START = datetime(2024, 8, 8, 23, 50, tzinfo=UTC)
FIELDS = (
    *("open", "high", "low", "close", "volume", "quote_volume", "trades"),
    *("taker_buy_volume", "taker_buy_quote_volume"),
)
IDS = ("first_trade_id", "last_trade_id")
INTERVALS = {
    **{"ohlcv_1m": 1, "ohlcv_5m": 5, "ohlcv_15m": 15},
    **{"ohlcv_1h": 60, "ohlcv_4h": 240, "ohlcv_1d": 1440},
}

Row = dict[str, Any]


def made_up_trade(
    symbol: str, trade_id: int, after: float, price: str, quantity: str = "1", **changes: Any
) -> Row:
    """Return a row of raw.trades, traded `after` seconds after START."""
    at = START + timedelta(seconds=after)
    row = {
        "market": "spot",
        "symbol": symbol,
        "trade_id": trade_id,
        "price": Decimal(price),
        "quantity": Decimal(quantity),
        "quote_quantity": quote_quantity(Decimal(price), Decimal(quantity)),
        "is_buyer_maker": trade_id % 2 == 0,
        "traded_at": at,
        "event_at": at,
        "received_at": at + timedelta(milliseconds=20),
        "source": "stream",
        "collector": "test",
        "frame_id": f"{symbol}-{trade_id}",
        "loaded_at": at + timedelta(seconds=1),
    }
    return row | changes


def made_up_trades() -> list[Row]:
    """Return the edge cases: what each symbol is for is its name."""
    late = START + timedelta(hours=1)
    return [
        # silent for three minutes between consecutive ids, silent again up to the newest minute
        made_up_trade("QUIETUSDT", 100, 30, "2.5"),
        made_up_trade("QUIETUSDT", 101, 59.999999, "2.75"),
        made_up_trade("QUIETUSDT", 102, 245, "2.25", "0.00000001"),
        # ids 12 to 14 are missing, with two minutes between
        made_up_trade("HOLEUSDT", 10, 5, "7"),
        made_up_trade("HOLEUSDT", 11, 10, "8"),
        made_up_trade("HOLEUSDT", 15, 185, "9"),
        # the same millisecond, arriving in the wrong order; one comes again by REST, much later
        made_up_trade("1000SAMEUSDT", 3, 61, "0.00001234", "3"),
        made_up_trade("1000SAMEUSDT", 1, 61, "0.00001236", "12345678.9"),
        made_up_trade("1000SAMEUSDT", 2, 61, "0.00001230", "3"),
        made_up_trade("1000SAMEUSDT", 2, 61, "0.00001230", "3", source="rest", received_at=late),
        # midnight, and a symbol that is no ASCII
        made_up_trade("币安人生USDT", 1, 599.999999, "1"),
        made_up_trade("币安人生USDT", 2, 600, "2"),
        # keeps the market going
        *(made_up_trade("BUSYUSDT", 1 + i, 10 * i, str(100 + i % 7)) for i in range(80)),
    ]


def recorded_trades() -> Iterator[Row]:
    """Yield the recorded trades as rows of raw.trades."""
    with gzip.open(RECORDED_TRADES, "rt", encoding="utf-8") as lines:
        for line in lines:
            received, _, message = line.partition(" ")
            if '@trade"' not in message:
                continue
            trade = json.loads(message)["data"]
            price, quantity = Decimal(trade["p"]), Decimal(trade["q"])
            received_at = microseconds(int(received) // 1000)
            yield {
                "market": "spot",
                "symbol": trade["s"],
                "trade_id": trade["t"],
                "price": price,
                "quantity": quantity,
                "quote_quantity": quote_quantity(price, quantity),
                "is_buyer_maker": trade["m"],
                "traded_at": microseconds(trade["T"] * 1000),
                "event_at": microseconds(trade["E"] * 1000),
                "received_at": received_at,
                "source": "stream",
                "collector": "recorder",
                "frame_id": "recording",
                "loaded_at": received_at + timedelta(seconds=2),
            }


def recorded_klines() -> Iterator[Row]:
    """Yield Binance's own candles as closed rows of raw.klines."""
    with RECORDED_KLINES.open(encoding="utf-8") as lines:
        for row in csv.reader(lines):
            opened_at = microseconds(int(row[0]) * 1000)
            values = [Decimal(value) for value in (*row[1:6], row[7])]
            yield kline(
                "BTCUSDT", "5m", opened_at, *values, int(row[8]), Decimal(row[9]), Decimal(row[10])
            )


def kline(symbol: str, interval: str, opened_at: datetime, *fields: Any, **changes: Any) -> Row:
    """Return a closed row of raw.klines with the nine fields in the order of FIELDS."""
    closed_at = opened_at + int(interval[:-1]) * MINUTE - timedelta(milliseconds=1)
    row = {
        "market": "spot",
        "symbol": symbol,
        "kline_interval": interval,
        "opened_at": opened_at,
        "closed_at": closed_at,
        "first_trade_id": -1,
        "last_trade_id": -1,
        **dict(zip(FIELDS, fields, strict=True)),
        "is_closed": True,
        "event_at": closed_at + timedelta(seconds=1),
        "received_at": closed_at + timedelta(seconds=1),
        "source": "stream",
        "collector": "test",
        "frame_id": "klines",
        "loaded_at": closed_at + timedelta(seconds=2),
    }
    return row | changes


def quiet_klines() -> list[Row]:
    """Return the exchange's candles of QUIETUSDT; the first one revised, two of them empty."""
    zero, one, price = Decimal(0), Decimal(1), Decimal("2.75")
    first = (Decimal("2.5"), price, Decimal("2.5"), price, Decimal(2), Decimal("5.25"), 2)
    closed = kline("QUIETUSDT", "1m", START, *first, one, price)
    wrong = closed | {"trades": 1, "event_at": closed["event_at"] - timedelta(milliseconds=500)}
    unclosed = closed | {"trades": 3, "event_at": START + timedelta(hours=1), "is_closed": False}
    empty = (price, price, price, price, zero, zero, 0, zero, zero)
    return [
        closed,
        wrong,
        unclosed,
        kline("QUIETUSDT", "1m", START + MINUTE, *empty),
        kline("QUIETUSDT", "1m", START + 2 * MINUTE, *empty),
    ]


def microseconds(since_1970: int) -> datetime:
    """Return the UTC time of microseconds since 1970, exactly."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=since_1970)


def python_candles(trades: Iterable[Row], minutes: int) -> dict[tuple[str, datetime], Row]:
    """Return the candles of `trades` by symbol and opening time: the rules once more, in Python.

    First arrivals by id, minutes from floor(traded_at), a candle for each minute without trades
    between consecutive ids and after the symbol's last one up to the newest of all.
    """
    by_symbol: dict[str, dict[int, Row]] = defaultdict(dict)
    for trade in sorted(trades, key=lambda row: (row["received_at"], row["loaded_at"])):
        by_symbol[trade["symbol"]].setdefault(trade["trade_id"], trade)
    length = minutes * MINUTE
    newest = max(floor(t["traded_at"], MINUTE) for ts in by_symbol.values() for t in ts.values())
    candles = {}
    for symbol, by_id in by_symbol.items():
        ordered = [by_id[trade_id] for trade_id in sorted(by_id)]
        for trade, following in itertools.zip_longest(ordered, ordered[1:]):
            opened_at = floor(trade["traded_at"], length)
            if (symbol, opened_at) not in candles:
                group = [t for t in ordered if floor(t["traded_at"], length) == opened_at]
                candles[symbol, opened_at] = traded_candle(group)
            silent_until = newest + MINUTE
            if following is not None:
                if following["trade_id"] != trade["trade_id"] + 1:
                    continue
                silent_until = floor(following["traded_at"], length)
            while (opened_at := opened_at + length) < silent_until:
                candles[symbol, opened_at] = empty_candle(trade["price"])
    return candles


def floor(time: datetime, length: timedelta) -> datetime:
    """Return the opening time of the candle of `length` that holds `time`."""
    return time - (time - microseconds(0)) % length


def traded_candle(trades: list[Row]) -> Row:
    """Return the candle of `trades`, which are ordered by id."""
    prices = [trade["price"] for trade in trades]
    bought = [trade for trade in trades if not trade["is_buyer_maker"]]
    return {
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume": sum(t["quantity"] for t in trades),
        "quote_volume": sum(t["quote_quantity"] for t in trades),
        "trades": len(trades),
        "taker_buy_volume": sum(t["quantity"] for t in bought),
        "taker_buy_quote_volume": sum(t["quote_quantity"] for t in bought),
        "first_trade_id": trades[0]["trade_id"],
        "last_trade_id": trades[-1]["trade_id"],
    }


def empty_candle(price: Decimal) -> Row:
    """Return the candle of a span without trades."""
    prices = dict.fromkeys(FIELDS[:4], price)
    return prices | dict.fromkeys(FIELDS[4:], 0) | dict.fromkeys(IDS, -1)


def frame_symbol(layout: Layout, frame: tuple[str, str, str], rows: list[Row]) -> Row:
    """Return the row of ops.frame_symbols for the rows of one symbol in a frame, loaded now."""
    frame_id, market, symbol = frame
    ids = [identity(row[layout.id_column]) for row in rows]
    times = [row[layout.table.partition_column] for row in rows]
    quantity, quote_quantity = layout.quantity_columns or (None, None)
    return {
        "frame_id": frame_id,
        "market": market,
        "channel": layout.channel,
        "symbol": symbol,
        "first_id": min(ids),
        "last_id": max(ids),
        "first_at": min(times),
        "last_at": max(times),
        "count": len(ids),
        "sum_ids": Decimal(sum(ids)),
        "sum_quantity": sum(row[quantity] for row in rows) if quantity else None,
        "sum_quote_quantity": sum(row[quote_quantity] for row in rows) if quote_quantity else None,
        "loaded_at": datetime.now(UTC),
    }


def frame(frame_id: str, trades: list[Row]) -> Row:
    """Return the ledger's row of a frame, published 50 ms after its last trade, loaded in 1 s."""
    received = [trade["received_at"] for trade in trades]
    published_at = max(received) + timedelta(milliseconds=50)
    return {
        **{"frame_id": frame_id, "market": "spot", "channel": "trade", "collector": "test"},
        **dict.fromkeys(("epoch", "sequence"), 1),
        **{"source": "stream", "ignored_lines": 0, "rejected_lines": 0},
        **dict.fromkeys(("header_lines", "lines", "loaded_rows"), len(trades)),
        **dict.fromkeys(("body_bytes", "message_bytes"), 1),
        **{"opened_at": min(received), "closed_at": max(received), "published_at": published_at},
        "loaded_at": published_at + timedelta(seconds=1),
    }


def identity(value: int | datetime) -> int:
    """Return what a row is told apart by, a time in microseconds."""
    return value if isinstance(value, int) else to_microseconds(value)


@dataclass(frozen=True)
class Warehouse:
    """One project of the emulator, and dbt for it."""

    url: str
    project: str
    folder: Path

    @property
    def client(self) -> bq.Client:
        return bq.Client(
            self.project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.url},
        )

    def create_tables(self) -> None:
        client = self.client
        for dataset in DATASETS:
            client.create_dataset(dataset, timeout=SECONDS, retry=None)
        for table in TABLES:
            schema = [bq.SchemaField.from_api_repr(field) for field in table.bigquery_schema]
            created = bq.Table(f"{self.project}.{table.full_name}", schema=schema)
            client.create_table(created, timeout=SECONDS, retry=None)

    def load(self, table: Table, rows: Iterable[Row]) -> None:
        """Append rows to a table, then what the ledger says of their frames."""
        self._append(table, rows := list(rows))
        for layout in LAYOUTS.values():
            if layout.table is table and layout.id_column:
                frames: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
                for row in rows:
                    frames[row["frame_id"], row["market"], row["symbol"]].append(row)
                self._append(
                    FRAME_SYMBOLS, (frame_symbol(layout, *frame) for frame in frames.items())
                )

    def _append(self, table: Table, rows: Iterable[Row]) -> None:
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=table.arrow_schema), file)
        job = self.client.load_table_from_file(
            file,
            f"{self.project}.{table.full_name}",
            rewind=True,
            job_config=bq.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND"),
            timeout=SECONDS,
        )
        job.result(timeout=SECONDS, retry=None)

    def rows(self, sql: str) -> list[Row]:
        job = self.client.query(sql, timeout=SECONDS, retry=None, job_retry=None)
        return [dict(row) for row in job.result(timeout=SECONDS, retry=None)]

    def dbt(self, *arguments: str) -> dict[str, str]:
        """Run dbt and return the status of each node by its name."""
        environment = os.environ | {
            "BIGQUERY_EMULATOR_HOST": self.url,
            "GOOGLE_CLOUD_PROJECT": self.project,
            "NO_PROXY": "127.0.0.1,localhost",
            "DBT_TARGET": "local",
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "logs"),
        }
        command = [str(Path(sys.executable).with_name("dbt")), *arguments]
        done = subprocess.run(
            [*command, "--project-dir", str(DBT), "--profiles-dir", str(DBT)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        results_file = self.folder / "target" / "run_results.json"
        if not results_file.exists():
            return {}
        results = json.loads(results_file.read_text("utf-8"))
        return {r["unique_id"].split(".")[2]: r["status"] for r in results["results"]}

    def candles(self, mart: str) -> dict[tuple[str, datetime], Row]:
        return {
            (row["symbol"], row["opened_at"]): {name: row[name] for name in (*FIELDS, *IDS)}
            for row in self.rows(f"select * from `{self.project}.marts.{mart}`")  # noqa: S608
        }


@dataclass(frozen=True)
class Built:
    """A warehouse that dbt has built, what was loaded, and how the nodes ended."""

    warehouse: Warehouse
    trades: list[Row]
    statuses: dict[str, str]


def start_warehouse(request: pytest.FixtureRequest, folder: Path, project: str) -> Warehouse:
    try:
        emulator = request.getfixturevalue("bigquery")
    except pytest.FixtureLookupError:
        pytest.skip("no fixture `bigquery`: the emulators' environment is not set up")
    warehouse = Warehouse(emulator.rest_url, project, folder)
    warehouse.create_tables()
    return warehouse


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Load everything and run the whole `dbt build`, data tests and unit tests included."""
    warehouse = start_warehouse(request, tmp_path_factory.mktemp("dbt"), "dbt-models-test")
    trades = made_up_trades()
    klines = quiet_klines()
    if RECORDED_TRADES.exists():
        trades += recorded_trades()
        klines += recorded_klines()
    warehouse.load(TRADES, trades)
    warehouse.load(KLINES, klines)
    return Built(warehouse, trades, warehouse.dbt("build"))


def test_build_passes_and_warns_of_the_hole(built: Built) -> None:
    assert {name for name, status in built.statuses.items() if status == "warn"} == {
        "market_completeness_has_no_hole"
    }


@pytest.mark.parametrize(("mart", "minutes"), list(INTERVALS.items()))
def test_candles_equal_those_of_python(built: Built, mart: str, minutes: int) -> None:
    assert built.warehouse.candles(mart) == python_candles(built.trades, minutes)


def test_recorded_five_minutes_equal_binance(built: Built) -> None:
    if not RECORDED_TRADES.exists():
        pytest.skip(f"recorded data is missing: {RECORDED_TRADES}")
    official = next(row for row in recorded_klines() if row["opened_at"] == RECORDED_CANDLE)
    candle = built.warehouse.candles("ohlcv_5m")["BTCUSDT", RECORDED_CANDLE]
    assert {name: candle[name] for name in FIELDS} == {name: official[name] for name in FIELDS}
    assert candle["trades"] == 8863
    verdicts = reconciliation(built.warehouse, "BTCUSDT")
    assert verdicts[RECORDED_CANDLE] == (True, True)
    # the recording begins in the middle of the candle before
    assert verdicts[RECORDED_CANDLE - 5 * MINUTE] == (False, False)


def test_revised_and_empty_klines_are_reconciled(built: Built) -> None:
    assert reconciliation(built.warehouse, "QUIETUSDT") == {
        START: (True, False),  # nothing is known of the trade before it
        START + MINUTE: (True, True),
        START + 2 * MINUTE: (True, True),
    }


def reconciliation(warehouse: Warehouse, symbol: str) -> dict[datetime, tuple[bool, bool]]:
    """Return (is_equal, is_covered) of a symbol's candles by opening time."""
    rows = warehouse.rows(
        "select opened_at, is_equal, is_covered "  # noqa: S608
        f"from `{warehouse.project}.marts.kline_reconciliation` where symbol = '{symbol}'"
    )
    return {row["opened_at"]: (row["is_equal"], row["is_covered"]) for row in rows}


def completeness(warehouse: Warehouse) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return (expected, present, missing, missing_before, duplicates) by symbol and day."""
    rows = warehouse.rows(f"select * from `{warehouse.project}.marts.market_completeness`")  # noqa: S608
    names = ("expected", "present", "missing", "missing_before", "duplicates_removed")
    return {
        (row["symbol"], row["traded_on"].isoformat()): tuple(row[name] for name in names)
        for row in rows
    }


def test_completeness_names_holes_and_copies(built: Built) -> None:
    by_day = completeness(built.warehouse)
    assert by_day["HOLEUSDT", "2024-08-08"] == (6, 3, 3, 0, 0)
    assert by_day["1000SAMEUSDT", "2024-08-08"] == (3, 3, 0, 0, 1)
    assert by_day["币安人生USDT", "2024-08-08"] == (1, 1, 0, 0, 0)
    assert by_day["币安人生USDT", "2024-08-09"] == (1, 1, 0, 0, 0)
    if RECORDED_TRADES.exists():
        assert by_day["BTCUSDT", "2024-08-08"] == (9738, 9738, 0, 0, 0)
        assert by_day["BTCUSDT", "2024-08-09"] == (19, 19, 0, 0, 0)


def test_documented_columns_are_the_columns(built: Built) -> None:
    """Names in order, and for marts the types that the contract enforces in BigQuery."""
    spelled = {"INTEGER": "int64", "BOOLEAN": "bool", "FLOAT": "float64"}
    for file in sorted((DBT / "models").rglob("_*.yml")):
        for model in yaml.safe_load(file.read_text("utf-8")).get("models", []):
            dataset = file.parent.name
            table = built.warehouse.client.get_table(
                f"{built.warehouse.project}.{dataset}.{model['name']}", timeout=SECONDS, retry=None
            )
            actual = {f.name: spelled.get(f.field_type, f.field_type.lower()) for f in table.schema}
            documented = {c["name"]: c.get("data_type") for c in model["columns"]}
            assert list(documented) == list(actual), model["name"]
            if dataset == "marts":
                assert documented == actual, model["name"]


def unpruned_scans(warehouse: Warehouse) -> list[str]:
    """Return the scans of large tables, in all SQL that dbt ran last, that name no partitions."""
    target = warehouse.folder / "target"
    nodes = list(json.loads((target / "manifest.json").read_text("utf-8"))["nodes"].values())
    guards = {table.full_name: table.partition_column for table in TABLES if table.requires_filter}
    views = {f"{n['name']}.sql" for n in nodes if n["config"]["materialized"] == "view"}
    for node in nodes:
        meta = node["config"].get("meta", {})
        if node["config"].get("require_partition_filter") or "pruned_by" in meta:
            column = meta["times"][0] if "times" in meta else meta["pruned_by"]
            guards[f"{node['schema']}.{node['name']}"] = column
    del guards["marts.market_completeness"]  # small, and partitioned by a date
    script = Path(__file__).with_name("partition_filters.py")
    checked = subprocess.run(
        [str(EMULATORS / "bin" / "python"), str(script), json.dumps(guards), str(target)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = checked.stdout.splitlines()
    return [scan for scan in found if scan.split(":")[0] not in views]  # their readers name them


def test_large_tables_are_never_read_without_naming_partitions(built: Built) -> None:
    """BigQuery refuses such scans (require_partition_filter); the emulator would not."""
    assert unpruned_scans(built.warehouse) == []


def test_the_real_target_parses(tmp_path: Path) -> None:
    """Contracts and partitions are checked by dbt for `bigquery` only."""
    warehouse = Warehouse("http://127.0.0.1:1", "crypto-local", tmp_path)
    warehouse.dbt("parse", "--target", "bigquery")


def test_the_questions_of_the_gallery_have_answers(built: Built) -> None:
    """docs/analytics.md shows these; each is compiled by dbt and asked as it stands."""
    asked = sorted(path.name for path in (DBT / "analyses").glob("*.sql"))
    built.warehouse.dbt("compile", "--select", "resource_type:analysis")
    compiled = built.warehouse.folder / "target" / "compiled" / "crypto_solutions" / "analyses"
    answers = {name: built.warehouse.rows((compiled / name).read_text("utf-8")) for name in asked}
    assert len(asked) == 6
    assert [row["symbol"] for row in answers["busiest_minutes.sql"]]
    assert [
        row["symbol"] for row in answers["what_is_missing.sql"] if row["largest_hole"] == 3
    ] == ["HOLEUSDT"]
    outcomes = {row["outcome"]: row["covered"] for row in answers["where_we_differ.sql"]}
    assert outcomes.keys() <= {"equal", "missing trades"}
    assert not outcomes.get("missing trades"), "a covered candle is equal"
    for name in ("how_fast_we_are.sql", "most_volatile_symbols.sql"):
        assert answers[name], name
    if RECORDED_TRADES.exists():
        assert answers["candles_of_a_symbol.sql"][-1]["trades"] > 0


def test_the_gallery_plots_each_candle(built: Built, tmp_path: Path) -> None:
    """docs/gallery/plot_candles.py, asked as an analyst would."""
    script = ROOT / "docs" / "gallery" / "plot_candles.py"
    spec = importlib.util.spec_from_file_location("plot_candles", script)
    assert spec is not None
    assert spec.loader is not None
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    client = built.warehouse.client
    rows = gallery.candles(client, "QUIETUSDT", 2)
    assert [row["opened_at"].hour for row in rows] == [0, 23], "the newest one first"
    file = tmp_path / "candles.svg"
    gallery.plot("QUIETUSDT", rows).save(file)
    drawn = file.read_text("utf-8")
    assert drawn.count('aria-roledescription="bar"') == 2 * len(rows), "a body and a volume each"
    assert drawn.count(f'opacity="{gallery.PALE}"') == 3 * sum(not row["is_final"] for row in rows)
    with pytest.raises(LookupError, match=r"btcusdt: marts.ohlcv_1h .* has no candle of it"):
        gallery.candles(client, "btcusdt")


def test_loading_everything_twice_changes_only_the_count_of_copies(built: Built) -> None:
    """Last, because it loads into the warehouse of the others."""
    warehouse = built.warehouse
    before = {mart: warehouse.candles(mart) for mart in INTERVALS}
    verdicts = reconciliation(warehouse, "QUIETUSDT")
    counts = completeness(warehouse)
    hour = timedelta(hours=1)
    again = [row | {"received_at": row["received_at"] + hour} for row in built.trades]
    warehouse.load(TRADES, reversed(again))
    warehouse.dbt("build", "--exclude-resource-type", "unit_test")
    assert unpruned_scans(warehouse) == []
    assert {mart: warehouse.candles(mart) for mart in before} == before
    assert reconciliation(warehouse, "QUIETUSDT") == verdicts
    assert completeness(warehouse) == {
        key: (*rest, 2 * copies + present)
        for key, (*rest, copies) in counts.items()
        for present in [rest[1]]
    }


def test_an_empty_warehouse_builds(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    warehouse = start_warehouse(request, tmp_path, "dbt-empty-test")
    statuses = warehouse.dbt("build", "--exclude-resource-type", "unit_test")
    assert set(statuses.values()) == {"success", "pass", "no-op"}  # exposures are not built
    assert warehouse.candles("ohlcv_1m") == {}
