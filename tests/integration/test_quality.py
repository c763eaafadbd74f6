"""Great Expectations over a real BigQuery emulator: good rows pass, each planted one is caught."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq
from google.cloud import storage

from market_data.tables import TABLES, TRADES
from plugins.market_ops.quality.suites import SUITE_NAMES
from plugins.market_ops.quality.suites.candles import COARSER
from tests.integration.conftest import BigQuery, Gcs, new_project
from tests.integration.dag_runs import Airflow
from tests.integration.test_dbt_models import (
    DBT,
    MINUTE,
    SECONDS,
    START,
    Row,
    Warehouse,
    kline,
    made_up_trade,
    python_candles,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

DAY = START.date().isoformat()
BUILT_AT = START + timedelta(hours=1)


@dataclass(frozen=True)
class Rows:
    """Rows of each table, coherent until a test changes them."""

    tables: dict[str, list[Row]]

    def __getitem__(self, table: str) -> list[Row]:
        return self.tables[table]


def good_rows() -> Rows:
    """Return what a good quarter of an hour leaves in each table: two symbols, six frames."""
    trades = [
        made_up_trade(symbol, n, 9 * n - 3000, str(100 + n % 7), frame_id=f"c-1-{1 + n // 20}")
        for symbol in ("BTCUSDT", "ETHUSDT")
        for n in range(100)
    ]
    frames = sorted({trade["frame_id"] for trade in trades})
    by_frame = {name: [t for t in trades if t["frame_id"] == name] for name in frames}
    epoch = (int(START.timestamp()) - 3001) * 1_000_000
    return Rows(
        {
            "raw.trades": trades,
            "raw.klines": [
                kline("BTCUSDT", "1m", START + n * MINUTE, *map(Decimal, KLINE)) for n in range(5)
            ],
            "ops.frames": [
                frame(name, rows, epoch, n) for n, (name, rows) in enumerate(by_frame.items(), 1)
            ],
            "ops.frame_symbols": [
                frame_symbol(name, symbol, [row for row in rows if row["symbol"] == symbol])
                for name, rows in by_frame.items()
                for symbol in ("BTCUSDT", "ETHUSDT")
            ]
            # Lost and replayed: two loads in the ledger, each row once.
            + [
                replayed | {"loaded_at": replayed["loaded_at"] + MINUTE}
                for rows in [[row for row in by_frame[frames[0]] if row["symbol"] == "BTCUSDT"]]
                for replayed in [frame_symbol(frames[0], "BTCUSDT", rows)]
            ],
            "intermediate.int_trades_deduplicated": [
                trade | {"copies": 1, "is_conflicting": False, "built_at": BUILT_AT}
                for trade in trades
            ],
            **{
                f"marts.ohlcv_{interval}": [
                    {"market": "spot", "symbol": symbol, "opened_at": opened_at, **candle}
                    | {"built_at": BUILT_AT}
                    for (symbol, opened_at), candle in python_candles(trades, minutes).items()
                ]
                for interval, minutes in {"1m": 1, **COARSER}.items()
            },
            "marts.market_completeness": [
                {"market": "spot", "symbol": "BTCUSDT", "traded_on": START.date()}
                | {"expected": 67, "present": 67, "missing": 0, "conflicts": 0}
                | {"verdict": "FINAL"}
            ],
            "marts.kline_reconciliation": [
                {"market": "spot", "symbol": "BTCUSDT", "kline_interval": "1m"}
                | {"opened_at": START + n * MINUTE, "is_equal": True, "is_covered": True}
                for n in range(5)
            ],
        }
    )


def frame(frame_id: str, trades: list[Row], epoch: int, sequence: int) -> Row:
    """Return the ledger's row of a frame, loaded a second after its last trade was made."""
    last_at = max(trade["traded_at"] for trade in trades)
    return {
        **{"frame_id": frame_id, "market": "spot", "channel": "trade", "collector": "c"},
        **{"epoch": epoch, "sequence": sequence, "source": "stream"},
        **dict.fromkeys(("header_lines", "lines", "loaded_rows"), len(trades)),
        **dict.fromkeys(("ignored_lines", "rejected_lines"), 0),
        **dict.fromkeys(("body_bytes", "message_bytes"), 1),
        **dict.fromkeys(("opened_at", "closed_at", "published_at"), last_at),
        "loaded_at": last_at + timedelta(seconds=1),
    }


def frame_symbol(frame_id: str, symbol: str, trades: list[Row]) -> Row:
    """Return the ledger's row of a symbol in a frame."""
    ids = [trade["trade_id"] for trade in trades]
    times = [trade["traded_at"] for trade in trades]
    return {
        **{"frame_id": frame_id, "market": "spot", "channel": "trade", "symbol": symbol},
        **{"first_id": min(ids), "last_id": max(ids), "count": len(ids)},
        **{"first_at": min(times), "last_at": max(times), "sum_ids": Decimal(sum(ids))},
        "loaded_at": max(times) + timedelta(seconds=1),
    }


KLINE = ("100", "101", "99", "100.5", "10", "1000", "7", "4", "400")


def plant(rows: Rows) -> None:
    """Make each truth false once."""
    trades, built = rows["raw.trades"], rows["intermediate.int_trades_deduplicated"]
    del trades[7:9]  # ids 7 and 8 of BTCUSDT, frame c-1-1
    trades[20] |= {"price": Decimal(0)}
    trades[21] |= {"quantity": Decimal("-0.00000001")}
    trades[22] |= {"quote_quantity": Decimal(-1)}
    built.append(built[30] | {"is_conflicting": True})
    del built[40]
    rows["raw.klines"][0] |= {"low": Decimal("100.00000001")}
    rows["raw.klines"][1] |= {"closed_at": rows["raw.klines"][1]["opened_at"]}
    ledger = rows["ops.frames"]
    del ledger[2]
    ledger[0] |= {"header_lines": ledger[0]["lines"] + 1}
    ledger[1] |= {"rejected_lines": 1}
    minutes = rows["marts.ohlcv_1m"]
    minutes[0] |= {"high": Decimal(1)}
    minutes[1] |= {"taker_buy_volume": minutes[1]["volume"] + Decimal("0.00000001")}
    minutes.append(dict(minutes[2]))
    rows["marts.ohlcv_4h"][0] |= {"volume": Decimal(1)}
    days = rows["marts.market_completeness"]
    days.append(days[0] | {"symbol": "ETHUSDT", "verdict": "INCOMPLETE", "missing": 2})
    days.append(days[0] | {"symbol": "XRPUSDT", "conflicts": 1})
    candles = rows["marts.kline_reconciliation"]
    candles[0] |= {"is_equal": False, "difference_class": "ours"}
    candles[1] |= {"is_equal": False}


CAUGHT = {
    ("raw_trades", "frames_are_loaded", "fail"): "BTCUSDT frame c-1-1",
    ("raw_trades", "price_is_positive", "fail"): "1 of 198 rows: spot BTCUSDT 22 price 0",
    ("raw_trades", "quantity_is_positive", "fail"): "BTCUSDT 23 quantity -0.00000001",
    ("raw_trades", "quote_quantity_is_not_negative", "fail"): "BTCUSDT 24 quote_quantity -1",
    ("trades", "is_unique", "fail"): "2 of",
    ("trades", "copies_agree", "fail"): "BTCUSDT 30",
    ("trades", "no_trade_is_lost", "fail"): "BTCUSDT 40",
    ("klines", "low_up_to_body_low", "fail"): "low 100.00000001",
    ("klines", "closes_after_opening", "fail"): "1 of 5 rows",
    ("frames", "sequences_are_consecutive", "fail"): "lacks 3 to 3",
    ("frames", "frames_are_whole", "fail"): "1 of 4 rows",
    ("frames", "lines_are_accounted_for", "fail"): "c-1-2 has",
    ("frames", "few_rejections", "warn"): "lines rejected",
    ("candles", "is_unique", "fail"): "2 of",
    ("candles", "body_high_up_to_high", "fail"): "1 of 31 rows: spot BTCUSDT",
    ("candles", "taker_buy_volume_up_to_volume", "fail"): "1 of",
    ("candles", "minutes_rebuild_the_rest", "fail"): "BTCUSDT",
    ("completeness", "no_day_is_incomplete", "fail"): "ETHUSDT 2024-08-08 verdict INCOMPLETE",
    ("completeness", "no_conflicts", "fail"): "XRPUSDT",
    ("completeness", "days_add_up", "fail"): "ETHUSDT",
    ("reconciliation", "no_difference_is_ours", "fail"): "1 of",
    ("reconciliation", "differences_are_classified", "fail"): "BTCUSDT 1m",
    ("reconciliation", "differences_have_an_excuse", "warn"): "ours",
}


# Each line is the settings and parameters of a run of the DAG.
RUNS = """
import check_quality as module
from market_ops.quality import check

dag, notices = module.check_quality(), []
check.notify = lambda subject, body: notices.append(subject)

def look(asked):
    notices.clear()
    run = dag.test(run_conf=asked["params"])
    tasks = {
        each.rendered_map_index or each.task_id: str(each.state)
        for each in run.get_task_instances()
    }
    return {"run_id": run.run_id, "tasks": tasks, "told": notices}

serve(look)
"""


@dataclass(frozen=True)
class Checked:
    """A project and its bucket after a run of the DAG: how its tasks ended, what was recorded."""

    project: str
    run_id: str
    tasks: dict[str, str]
    told: list[str]
    rows: list[Row]
    objects: dict[str, str]

    @property
    def missed(self) -> dict[tuple[str, str, str], str]:
        return {
            (row["suite"], row["expectation"], row["severity"]): row["observed"]
            for row in self.rows
            if not row["is_success"]
        }


Check = Callable[..., Checked]


@pytest.fixture(scope="module")
def checked(
    bigquery: BigQuery,
    gcs: Gcs,
    tmp_path_factory: pytest.TempPathFactory,
    airflow_database: Path,
) -> Iterator[Check]:
    """Load rows into a new project and run the DAG over it, in one process for all."""
    folder = tmp_path_factory.mktemp("airflow")
    client = storage.Client(
        "test-project",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": gcs.rest_url},
    )
    emulators = bigquery.environment | gcs.environment
    with Airflow(RUNS, folder, airflow_database, emulators) as airflow:

        def run(rows: Rows, project: str = "", **params: Any) -> Checked:
            warehouse = Warehouse(bigquery.rest_url, project or new_project(), folder)
            if not project:
                warehouse.create_tables()
                client.create_bucket(warehouse.project, timeout=SECONDS, retry=None)
            for name, content in rows.tables.items():
                load(warehouse, name, content)
            project = warehouse.project
            settings = {"project": project, "bucket": project, "bucket_url": gcs.rest_url}
            params = {"day": DAY, "suites": list(SUITE_NAMES), **params}
            found = airflow.ask(settings=settings, params=params)
            objects = client.list_blobs(project, timeout=SECONDS, retry=None)
            return Checked(
                **{name: found[name] for name in ("run_id", "tasks", "told")},
                project=project,
                rows=warehouse.rows("select * from ops.quality_results"),
                objects={blob.name: blob.content_type for blob in objects},
            )

        yield run
    left = [path.name for path in folder.iterdir() if path.name.startswith(("tmp", "data-docs"))]
    assert left == []


def load(warehouse: Warehouse, name: str, rows: list[Row]) -> None:
    """Load rows into a table of ours, or into a model's, which is created for them."""
    client, reference = warehouse.client, f"{warehouse.project}.{name}"
    if name not in {table.full_name for table in TABLES}:
        schema = [bq.SchemaField(column, kind) for column, kind in model_columns(name).items()]
        client.create_table(bq.Table(reference, schema=schema), timeout=SECONDS, retry=None)
    if not rows:
        return
    table = client.get_table(reference, timeout=SECONDS, retry=None)
    names = {field.name for field in table.schema}
    lines = "".join(
        json.dumps({key: row[key] for key in row.keys() & names}, default=as_json) + "\n"
        for row in rows
    )
    job = client.load_table_from_file(
        io.BytesIO(lines.encode()),
        table.reference,
        job_config=bq.LoadJobConfig(schema=table.schema, source_format="NEWLINE_DELIMITED_JSON"),
        timeout=SECONDS,
    )
    job.result(timeout=SECONDS, retry=None)


def as_json(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else f"{value:f}"


def model_columns(name: str) -> dict[str, str]:
    """Return the columns of a dbt model and their types."""
    model = name.partition(".")[2]
    if model == "int_trades_deduplicated":
        own = {field["name"]: field["type"] for field in TRADES.bigquery_schema}
        return own | {"copies": "INT64", "is_conflicting": "BOOL", "built_at": "TIMESTAMP"}
    for path in (DBT / "models" / "marts").glob("*.yml"):
        for each in yaml.safe_load(path.read_text("utf-8")).get("models", []):
            if each["name"] == model:
                return {c["name"]: c["data_type"].upper() for c in each["columns"]}
    raise LookupError(model)


@pytest.fixture(scope="module")
def good(checked: Check) -> Checked:
    return checked(good_rows())


@pytest.fixture(scope="module")
def bad(checked: Check) -> Checked:
    rows = good_rows()
    plant(rows)
    return checked(rows)


def test_good_rows_pass(good: Checked) -> None:
    assert good.missed == {}
    assert {row["suite"] for row in good.rows} == set(SUITE_NAMES)
    assert set(good.tasks) == {"check", "quality_holds", *SUITE_NAMES}
    assert set(good.tasks.values()) == {"success"}
    assert good.told == []


def test_results_are_recorded(good: Checked) -> None:
    by_name = {(row["suite"], row["expectation"]): row for row in good.rows}
    assert len(by_name) == len(good.rows)
    row = by_name["trades", "is_unique"]
    assert row["run_id"] == good.run_id
    assert row["table_name"] == "intermediate.int_trades_deduplicated"
    assert row["column_name"] == "market, symbol, trade_id"
    assert row["observed"] == "0 of 200 rows"
    assert row["severity"] == "fail"
    assert row["window_end"] - row["window_start"] == timedelta(days=1)
    assert f"{row['window_start']:%Y-%m-%d}" == DAY
    assert len({row["checked_at"] for row in good.rows}) == 1


def test_links_lead_to_data_docs(bad: Checked) -> None:
    pages = {}
    for suite in SUITE_NAMES:
        (link,) = {row["link"] for row in bad.rows if row["suite"] == suite}
        pages[suite] = fetch(link)
    for row in bad.rows:
        assert f"{row['expectation']} ({row['severity']})" in pages[row["suite"]]
    assert "-0.00000001" in pages["raw_trades"], "rounded"
    assert "quality/data_docs/index.html" in bad.objects
    assert bad.objects["quality/data_docs/index.html"] == "text/html"
    assert any(name.startswith("quality/data_docs/static/styles/") for name in bad.objects)
    index = fetch(f"{link.partition('/validations/')[0]}/index.html")
    assert "raw_trades" in index


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - our own server
        assert answer.headers["Content-Type"].startswith("text/html")
        return str(answer.read().decode())


def test_planted_rows_are_caught(bad: Checked) -> None:
    for key, part in CAUGHT.items():
        assert part in bad.missed.get(key, "nothing"), key
    assert set(bad.missed) == set(CAUGHT)


def test_failing_suites_are_red_and_nothing_is_emitted(bad: Checked) -> None:
    assert bad.tasks["check"] == "success"
    assert {bad.tasks[suite] for suite in SUITE_NAMES} == {"failed"}
    assert bad.tasks["quality_holds"] == "upstream_failed"
    assert sorted(bad.told) == sorted(f"check_quality: {suite} fails" for suite in SUITE_NAMES)


def test_what_goes_on_failing_is_told_once(bad: Checked, checked: Check) -> None:
    again = checked(Rows({}), bad.project, suites=["completeness"])
    ends = {"check": "success", "completeness": "failed", "quality_holds": "upstream_failed"}
    assert again.tasks == ends
    assert again.told == []
    assert len(again.rows) > len(bad.rows)


def test_empty_sources_have_an_outcome(checked: Check) -> None:
    """Without rows only warnings, without marts a failure that says so."""
    empty = checked(Rows({"marts.market_completeness": []}))
    found = {key[:2]: text for key, text in empty.missed.items()}
    nothing = {("raw_trades", "has_rows"): "0", ("raw_trades", "is_fresh"): "nothing"}
    nothing |= {("frames", "has_rows"): "0", ("frames", "is_fresh"): "nothing"}
    nothing |= {("klines", "has_rows"): "0", ("completeness", "has_rows"): "0"}
    coarser = ", ".join(f"marts.ohlcv_{interval}" for interval in COARSER)
    missing = {
        "trades": "intermediate.int_trades_deduplicated",
        "candles": f"marts.ohlcv_1m, {coarser}",
        "reconciliation": "marts.kline_reconciliation",
    }
    assert found == nothing | {
        (suite, "tables_exist"): f"missing: {tables}" for suite, tables in missing.items()
    }
    failed = {task for task, state in empty.tasks.items() if state == "failed"}
    assert failed == set(missing)
