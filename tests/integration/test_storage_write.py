"""StorageWriter and AppendStream against a real Storage Write API."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal

import pytest
from google.api_core import exceptions

from beam_jobs.frames import decode_received
from beam_jobs.storage_write import StorageWriter
from beam_jobs.tables import create_tables
from market_data.tables import SYMBOLS, TRADES
from sandbox.warehouse import Warehouse
from tests.beam_jobs.samples import NOW, exchange_info_line, received, trade
from tests.integration.conftest import BigQuery, new_project

pytestmark = pytest.mark.integration


@pytest.fixture
def project(bigquery: BigQuery, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in bigquery.environment.items():
        monkeypatch.setenv(name, value)
    return new_project()


@pytest.fixture
def writer(project: str) -> Iterator[StorageWriter]:
    writer = StorageWriter(project, sleep=lambda _: None)
    yield writer
    writer.close()


def test_rows_can_be_queried_when_the_append_returns(
    bigquery: BigQuery, project: str, writer: StorageWriter
) -> None:
    create_tables(project, "US")
    with Warehouse(project, bigquery.rest_url) as warehouse:
        for appended in range(1, 4):
            lines = [trade(number, "币安USDT") for number in range(100)]
            rows = decode_received(received(*lines), NOW).rows
            writer.append({TRADES: [rows, rows]})
            (found,) = warehouse.rows(
                "select count(*) as n, sum(trade_id) as ids, sum(quote_quantity) as quote"
                " from `{project}.raw.trades` where symbol = '币安USDT'"
            )
            assert (found["n"], found["ids"]) == (200 * appended, 9900 * appended)
            assert found["quote"] == 100 * appended


def test_symbols_without_filters_have_nulls(
    bigquery: BigQuery, project: str, writer: StorageWriter
) -> None:
    entry = {
        "symbol": "币安USDT", "status": "TRADING", "baseAsset": "币安", "quoteAsset": "USDT",
        "isSpotTradingAllowed": True, "filters": [], "permissionSets": [["SPOT"]],
    }  # fmt: skip
    filtered = entry | {"filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.00000001"}]}
    create_tables(project, "US")
    lines = [exchange_info_line(entry), exchange_info_line(filtered)]
    rows = decode_received(received(*lines, channel="exchangeInfo"), NOW).rows
    with Warehouse(project, bigquery.rest_url) as warehouse:
        for appended in range(1, 4):
            writer.append({SYMBOLS: [rows]})
            (found,) = warehouse.rows(
                "select count(*) as n, count(tick_size) as ticks, max(tick_size) as tick_size,"
                " max(base_asset) as base_asset from `{project}.raw.symbols`"
            )
            assert (found["n"], found["ticks"]) == (2 * appended, appended)
            assert (found["tick_size"], found["base_asset"]) == (Decimal("0.00000001"), "币安")


@pytest.mark.timeout(60)
def test_many_streams_are_open_at_once(bigquery: BigQuery, project: str) -> None:
    """A worker's threads each have a stream a table."""
    create_tables(project, "US")
    rows = decode_received(received(trade(1)), NOW).rows
    with contextlib.ExitStack() as stack:
        for _ in range(24):
            writer = StorageWriter(project)
            stack.callback(writer.close)
            writer.append({TRADES: [rows]})
        with Warehouse(project, bigquery.rest_url) as warehouse:
            assert warehouse.rows("select count(*) as n from `{project}.raw.trades`") == [{"n": 24}]


def test_a_missing_table_stops_at_once(writer: StorageWriter) -> None:
    rows = decode_received(received(trade(1)), NOW).rows
    with pytest.raises(exceptions.GoogleAPICallError, match=r"(?i)not found|trades"):
        writer.append({TRADES: [rows]})


def test_create_tables_may_run_again(bigquery: BigQuery, project: str) -> None:
    for _ in range(2):
        create_tables(project, "US")
    with Warehouse(project, bigquery.rest_url) as warehouse:
        counts = [
            warehouse.rows(f"select count(*) as n from `{{project}}.{dataset}.{table}`")  # noqa: S608
            for dataset, table in (("raw", "trades"), ("ops", "frames"))
        ]
    assert counts == [[{"n": 0}]] * 2
