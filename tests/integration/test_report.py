"""The quality report over real parts: marts that dbt built, a bucket, Airflow, a mail server."""

from __future__ import annotations

import json
import socketserver
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from market_data.tables import FRAMES, HOLES, KLINES, QUALITY_RESULTS, REJECTIONS, SYMBOLS, TRADES
from plugins.market_ops.report.publish import (
    LATEST,
    has_begun,
    links_of,
    make_report,
    name_of,
    send_report,
)
from plugins.market_ops.report.render import render_mail
from plugins.market_ops.settings import Settings
from tests.integration.conftest import Gcs, new_project
from tests.integration.dag_runs import Airflow
from tests.integration.test_dbt_models import (
    FIELDS,
    Row,
    Warehouse,
    frame,
    kline,
    made_up_trade,
    start_warehouse,
)
from tests.integration.test_dbt_symbols import entry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

ROOT = Path(__file__).parents[2]
DAY = date(2024, 8, 8)
DAY_START = datetime(2024, 8, 8, tzinfo=UTC)
NOW = datetime(2024, 8, 9, 0, 30, tzinfo=UTC)
DAYS = 86_400.0
HOSTILE = "<img src=x onerror=alert(1)>"


def trades() -> list[Row]:
    """Return trades from 2024-08-08T23:50Z on, and of the day before; names say what for."""
    return [
        # whole, 7 and 8 healed, its end proven by the trade after midnight
        *(made_up_trade("BTCUSDT", n, 10 * n, "100", **of(n)) for n in range(1, 70)),
        # 12 to 14 are missing
        *(made_up_trade("HOLEUSDT", n, n, "7") for n in (10, 11, 15)),
        made_up_trade("HOLEUSDT", 16, 660, "7"),
        # from 3 to 5 across two midnights: the day between has none, and lost one
        made_up_trade("GONEUSDT", 3, -DAYS, "1"),
        made_up_trade("GONEUSDT", 5, 700, "1"),
        # nothing after the day, but Binance's candle of the day ends with the same trade
        made_up_trade("币安人生USDT", 1, -DAYS, "2"),
        made_up_trade("币安人生USDT", 2, 20, "2"),
        # nothing after the day at all
        made_up_trade("ENDUSDT", 1, 30, "3"),
        # nothing after the day either, but it was halted when the day ended
        made_up_trade("HALTUSDT", 1, 40, "3"),
        # quiet since the day before
        made_up_trade("QUIETUSDT", 1, -DAYS, "4"),
    ]


def of(number: int) -> Row:
    """Return how a trade of BTCUSDT came."""
    if number in (7, 8):
        return {"source": "rest", "collector": "repair", "frame_id": "healing"}
    return {"frame_id": "stream-1"}


def daily_kline() -> Row:
    two, zero = Decimal(2), Decimal(0)
    values = dict(zip(FIELDS, (two, two, two, two, Decimal(1), two, 1, zero, zero), strict=True))
    row = kline("币安人生USDT", "1d", DAY_START, *values.values())
    return (
        row
        | {"closed_at": DAY_START + timedelta(days=1, milliseconds=-1)}
        | {
            "first_trade_id": 2,
            "last_trade_id": 2,
        }
    )


def listings() -> list[Row]:
    """Return the entries of HALTUSDT, which trades again after the day."""
    return [
        entry("HALTUSDT", 0, 1, status) | {"received_at": DAY_START + timedelta(hours=hours)}
        for hours, status in ((-3, "TRADING"), (12, "BREAK"), (29, "TRADING"))
    ]


def rejection(minute: int, **changes: Any) -> Row:
    return {
        **{"market": "spot", "channel": "trade", "symbol": HOSTILE, "stage": "line"},
        **{"reason": "bad_number", "field": "p", "value": HOSTILE, "detail": "p: no number"},
        **{"exception_class": None, "payload": b"{}", "payload_bytes": 2, "archived_in": None},
        **{"received_at": None, "collector": "c", "frame_id": "f", "line_number": minute},
        "rejected_at": DAY_START + timedelta(minutes=minute),
    } | changes


def result(name: str, hours: tuple[int, int], *, is_success: bool, **changes: Any) -> Row:
    """Return what a check found of the hours of the day, made at their end."""
    start, end = (DAY_START + timedelta(hours=hour) for hour in hours)
    return {
        **{"run_id": "r", "suite": "raw_trades", "expectation": name, "table_name": "raw.trades"},
        **{"column_name": "price", "severity": "fail", "is_success": is_success},
        **{"observed": f"seen until {hours[1]}", "threshold": "none", "meaning": "True."},
        **{"remedy": "Mend it.", "window_start": start, "window_end": end, "checked_at": end},
        "link": "",
    } | changes


def results() -> list[Row]:
    return [
        result("mended", (3, 9), is_success=False),
        result("mended", (0, 24), is_success=True, checked_at=NOW),
        # it has only moved out of the window
        result("open", (3, 9), is_success=False),
        result("open", (4, 10), is_success=False),
        result("open", (11, 17), is_success=True),
        result("good", (3, 9), is_success=True),
        result("of_the_day_after", (20, 26), is_success=False),
        result("of_the_day_before", (-6, 0), is_success=False),
    ]


def attempt(symbol: str, first: int, last: int, outcome: str, hours: int, **changes: Any) -> Row:
    """Return a row of ops.holes, found so many hours after the day began."""
    found_at = DAY_START + timedelta(hours=hours)
    values = {"INTEGER": 0, "INT64": 0, "TIMESTAMP": found_at}
    row = {field["name"]: values.get(field["type"], "") for field in HOLES.bigquery_schema}
    return {
        **row,
        **{"market": "spot", "channel": "trade", "symbol": symbol, "outcome": outcome},
        **{"first_missing_id": first, "last_missing_id": last, "missing": last - first + 1},
        **changes,
    }


def attempts() -> list[Row]:
    return [
        attempt("BTCUSDT", 7, 8, "failed", 1, detail="not yet"),
        attempt("BTCUSDT", 7, 8, "healed", 2, source="rest", run_id="manual"),
        # across midnight, found a day later
        attempt("GONEUSDT", 4, 4, "failed", 30, detail="HTTP 404"),
        attempt("HOLEUSDT", 12, 13, "absent_at_source", 2, witnesses="rest and aggregates"),
        attempt("HOLEUSDT", 14, 14, "healed", 2, channel="aggTrade"),
        # of the next day
        attempt("BTCUSDT", 66, 67, "healed", 26),
        attempt("OTHERUSDT", 1, 9, "failed", 2),
    ]


@dataclass(frozen=True)
class Platform:
    """A built warehouse and an empty bucket."""

    warehouse: Warehouse
    bucket: storage.Bucket
    settings: Settings
    environment: dict[str, str]

    def object(self, name: str) -> bytes:
        data: bytes = self.bucket.blob(name).download_as_bytes()
        return data

    def report(self, day: date = DAY) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.object(name_of(day, "json")))
        return found

    def make(self, day: date = DAY, now: datetime = NOW) -> dict[str, Any]:
        return make_report(self.warehouse.client, self.bucket, self.settings, day, now)


@pytest.fixture(scope="module")
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gcs: Gcs
) -> Iterator[Platform]:
    warehouse = start_warehouse(request, tmp_path_factory.mktemp("report"), new_project())
    rows = trades()
    warehouse.load(FRAMES, [frame("stream-1", [r for r in rows if r["frame_id"] == "stream-1"])])
    warehouse.load(KLINES, [daily_kline()])
    warehouse.load(
        REJECTIONS,
        [rejection(5), rejection(7), rejection(6, reason="not_json"), rejection(-1)],
    )
    warehouse.load(QUALITY_RESULTS, results())
    warehouse.load(HOLES, attempts())
    warehouse.load(SYMBOLS, listings())
    warehouse.load(TRADES, rows)
    warehouse.dbt("run")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in gcs.environment.items():
            patch.setenv(name, value)
        client = storage.Client(project="test", credentials=AnonymousCredentials())
        bucket = client.create_bucket(new_project())
        settings = Settings(project=warehouse.project, bucket=bucket.name, bucket_url=gcs.rest_url)
        environment = gcs.environment | {"BIGQUERY_EMULATOR_HOST": warehouse.url}
        yield Platform(warehouse, bucket, settings, environment)


def test_the_report_says_what_was_planted(platform: Platform) -> None:
    made = platform.make()
    found = platform.report()
    assert (made["day"], made["verdict"]) == ("2024-08-08", "INCOMPLETE")
    rows = {
        row["symbol"]: (row["verdict"], row["is_proven"], row["present"], row["lost"])
        for row in found["completeness"]
    }
    assert rows == {
        "BTCUSDT": ("FINAL", True, 59, 0),
        "HOLEUSDT": ("INCOMPLETE", False, 3, 3),
        "币安人生USDT": ("PROVISIONAL", True, 1, 0),
        "ENDUSDT": ("PROVISIONAL", False, 1, 0),
        "HALTUSDT": ("PROVISIONAL", True, 1, 0),
    }
    assert [(row["symbol"], row["is_proven"], row["has_hole"]) for row in found["silent"]] == [
        ("QUIETUSDT", False, False),
        ("GONEUSDT", True, True),
    ]
    assert [
        (row["symbol"], row["first_missing_id"], row["last_missing_id"]) for row in found["holes"]
    ] == [("HOLEUSDT", "12", "14"), ("GONEUSDT", "4", "4")]
    assert [
        (row["symbol"], row["first_id"], row["last_id"], row["outcome"], row["said"])
        for row in found["outcomes"]
    ] == [
        ("HOLEUSDT", "14", "14", "open", ""),
        ("GONEUSDT", "4", "4", "failed", "HTTP 404"),
        ("BTCUSDT", "7", "8", "healed", ""),
        ("HOLEUSDT", "12", "13", "absent_at_source", "rest and aggregates"),
    ]
    assert (found["summary"]["missing"], found["summary"]["absent"]) == (2, 2)
    (healed,) = found["healed"]
    assert (healed["collector"], healed["trades"], healed["runs"]) == ("repair", 2, 1)
    days = found["reconciliation"]["intervals"][-1]
    assert (days["compared"], days["covered_equal"]) == (1, 1)
    assert [(row["reason"], row["items"]) for row in found["rejections"]] == [
        ("bad_number", 2),
        ("not_json", 1),
    ]
    assert [(row["expectation"], row["is_over"], row["failures"]) for row in found["checks"]] == [
        ("open", False, 2),
        ("mended", True, 1),
    ]
    assert found["checks"][0]["observed"] == "seen until 10"
    assert [day["trades"] for day in found["volumes"]["days"]] == [0] * 6 + [3, 65]
    assets = {row["asset"]: row["quote_volume"] for row in found["volumes"]["quote_assets"]}
    assert assets == {"USDT": "3", "unknown": "5926"}
    assert [row["stage"] for row in found["latency"]["stages"]][-1] == "exchange_to_loaded"
    assert [reason["word"] for reason in found["verdict"]["reasons"]] == [
        *("INCOMPLETE", "PROVISIONAL", "INCOMPLETE", "PROVISIONAL")
    ]
    assert "ENDUSDT, QUIETUSDT" in found["verdict"]["reasons"][-1]["why"]


def test_the_links_lead_to_the_page_and_hostile_text_is_text(platform: Platform) -> None:
    made = platform.make()
    with urllib.request.urlopen(made["page"], timeout=10) as answer:  # noqa: S310 # our own
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        page = answer.read().decode()
    assert page.encode() == platform.object(name_of(DAY, "html"))
    assert "币安人生USDT" in page
    assert "&lt;img src=x" in page
    assert "<img" not in page
    with urllib.request.urlopen(made["json"], timeout=10) as answer:  # noqa: S310 # our own
        assert json.load(answer) == platform.report()


def test_made_again_it_is_the_same_and_latest_is_the_newest_day(platform: Platform) -> None:
    platform.make()
    first = platform.object(name_of(DAY, "html"))
    platform.make()
    assert platform.object(name_of(DAY, "html")) == platform.object(LATEST) == first
    before = DAY - timedelta(days=1)
    platform.make(before)
    assert platform.report(before)["day"] == "2024-08-07"
    assert platform.object(LATEST) == first
    platform.make(DAY + timedelta(days=1))
    assert platform.object(LATEST) == platform.object(name_of(DAY + timedelta(days=1), "html"))
    names = [
        blob.name for blob in platform.bucket.list_blobs(prefix="reports/quality/dt=2024-08-08")
    ]
    assert sorted(names) == [name_of(DAY, "html"), name_of(DAY, "json")]


def test_a_day_without_trades(platform: Platform) -> None:
    made = platform.make(date(2024, 7, 1))
    assert made["verdict"] == "INCOMPLETE"
    assert made["why"] == "The warehouse has no trade of this day."


def test_a_day_before_the_first_one_is_none_of_ours(platform: Platform) -> None:
    client = platform.warehouse.client
    assert not has_begun(client, date(2024, 7, 1))
    assert has_begun(client, DAY)
    assert has_begun(client, date(2026, 1, 1))  # a day that was lost is told


def test_a_day_goes_on(platform: Platform) -> None:
    now = datetime(2024, 8, 9, 0, 20, tzinfo=UTC)
    platform.make(now.date(), now)
    found = platform.report(now.date())
    assert found["is_so_far"]
    assert found["verdict"]["reasons"][-1]["word"] == "PROVISIONAL"


class MailServer(socketserver.ThreadingTCPServer):
    """As much of SMTP as a client needs that says what it wants and leaves."""

    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        super().__init__(("127.0.0.1", 0), MailHandler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class MailHandler(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            command = line.split()[0].upper() if line.split() else b""
            if command == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line)
                self.server.mails.append(b"".join(lines).decode())
            self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 fine\r\n")


@contextmanager
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


TASKS = ("check_day", "write_report", "send_report")
RUNS = """
import report_quality
dag = report_quality.report_quality()

def report(asked):
    run = dag.test(run_conf=asked["conf"])
    (written,) = (each for each in run.get_task_instances() if each.task_id == "write_report")
    return told(run, link=(written.xcom_pull(task_ids="write_report") or {}).get("page"))

serve(report)
"""


def test_nothing_is_sent_without_an_address(platform: Platform) -> None:
    assert send_report(platform.bucket, platform.settings, DAY) == []


def test_the_dag_checks_the_day_writes_the_report_and_mails_it(
    platform: Platform, tmp_path: Path, airflow_database: Path
) -> None:
    with mail_server() as server:
        extra = {"from_email": "platform@example.com", "disable_tls": True, "disable_ssl": True}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.port, "extra": extra}
        settings = {
            name: getattr(platform.settings, name) for name in ("project", "bucket", "bucket_url")
        }
        environment = platform.environment | {"AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(connection)}
        with Airflow(RUNS, tmp_path, airflow_database, environment) as airflow:
            # A platform that has built nothing yet: nobody is alarmed for yesterday.
            fresh = airflow.ask(settings=settings | {"project": new_project()}, conf={})
            found = airflow.ask(
                settings=settings | {"alerts": {"mail": ["reader@example.com"]}},
                conf={"day": DAY.isoformat()},
            )
    assert fresh["tasks"] == {"find_day": "success"} | dict.fromkeys(TASKS, "skipped")
    assert "no data of this day, nor of any before it" in fresh["log"]
    assert found["state"] == "success", found["log"]
    assert found["tasks"] == dict.fromkeys(("find_day", *TASKS), "success")
    page = name_of(DAY, "html")
    assert found["link"] == f"{platform.settings.bucket_url}/{platform.settings.bucket}/{page}"
    report = platform.report()
    assert report["verdict"]["word"] == "INCOMPLETE"
    assert "no_day_is_incomplete" in {check["expectation"] for check in report["checks"]}
    (mail,) = (message_from_string(text) for text in server.mails)
    assert mail["To"] == "reader@example.com"
    assert mail["Subject"] == "INCOMPLETE 2024-08-08: 65 trades of 5 symbols, 2 missing"
    (body,) = mail.get_payload()
    html = body.get_payload(decode=True).decode()
    assert html == render_mail(report, links_of(platform.settings, DAY))


def test_without_the_tables_of_checks_and_holes_the_report_says_so(platform: Platform) -> None:
    """Last, for it drops the tables."""
    for table in (QUALITY_RESULTS, HOLES):
        name = f"{platform.warehouse.project}.{table.full_name}"
        platform.warehouse.client.delete_table(name, timeout=60, retry=None)
    platform.make()
    assert platform.report()["checks"] is None
    assert b"No check has been recorded yet" in platform.object(name_of(DAY, "html"))
