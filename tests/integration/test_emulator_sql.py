"""What the launcher makes exact in bqemulator, asked of a running one."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from sandbox.bigquery.rest import query
from tests.integration.conftest import BigQuery

pytestmark = pytest.mark.integration

SMALLEST = "0.000000001"
EPOCH = "timestamp_micros(0) <= current_timestamp()"


@pytest.fixture(scope="module")
def prices(bigquery: BigQuery) -> Iterator[str]:
    """Name of a dataset with a view `smallest` of the smallest NUMERIC."""
    dataset = "emulator_sql"
    query(bigquery.rest_url, bigquery.project, f"create schema {dataset}")
    query(
        bigquery.rest_url,
        bigquery.project,
        f"create view {dataset}.smallest as select numeric '{SMALLEST}' as price",
    )
    yield dataset
    query(bigquery.rest_url, bigquery.project, f"drop schema {dataset} cascade")


@pytest.mark.parametrize(
    "sql",
    [
        "select numeric '{smallest}' as price",
        "select cast('{smallest}' as numeric) as price",
        "select safe_cast('{smallest}' as numeric) as price",
        "select numeric '{smallest}' as price from (select 1) where {epoch}",
        "select cast('{smallest}' as numeric) as price from (select 1) where {epoch}",
        "select price from {dataset}.smallest",
        "select price from {dataset}.smallest where {epoch}",
        "select numeric '{smallest}' as price from {dataset}.smallest",
    ],
)
def test_a_numeric_has_nine_decimals(bigquery: BigQuery, prices: str, sql: str) -> None:
    statement = sql.format(dataset=prices, smallest=SMALLEST, epoch=EPOCH)
    (row,) = query(bigquery.rest_url, bigquery.project, statement)
    assert Decimal(row["price"] or 0) == Decimal(SMALLEST)
