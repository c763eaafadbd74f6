"""`build_marts` through Airflow's own `dag.test`: a good build, and one that finds bad data."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from market_data.tables import TRADES
from tests.integration.conftest import new_project
from tests.integration.dag_runs import Airflow
from tests.integration.test_dbt_models import made_up_trade, start_warehouse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

# Answers with the summary of dbt, too.
RUNS = """
import build_marts as module
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
dag = module.build_marts()
dag.get_task("build").retries = 0

def build(asked):
    run = dag.test()
    with create_session() as session:
        of_run = session.query(XComModel).filter_by(run_id=run.run_id, key="results")
        return told(run, results=[XComModel.deserialize_value(each) for each in of_run])

serve(build)
"""


def test_a_build_and_one_that_finds_bad_data(
    request: pytest.FixtureRequest, tmp_path: Path, airflow_database: Path
) -> None:
    warehouse = start_warehouse(request, tmp_path, new_project())
    trades = [made_up_trade("BTCUSDT", number, number, "60000") for number in range(1, 181)]
    warehouse.load(TRADES, trades)
    settings = {"project": warehouse.project, "bucket": "my-bucket"}
    home = tmp_path / "airflow"
    home.mkdir()
    environment = {"BIGQUERY_EMULATOR_HOST": warehouse.url, "DBT_TARGET": "local"}
    with Airflow(RUNS, home, airflow_database, environment) as airflow:

        def build() -> dict[str, Any]:
            return airflow.ask(settings=settings)

        done = build()
        assert done["state"] == "success", done
        (results,) = done["results"]
        assert results["bad"] == {}
        assert results["statuses"]["pass"] > 50
        sql = f"select sum(trades) as trades from `{warehouse.project}.marts.ohlcv_1m`"  # noqa: S608
        assert warehouse.rows(sql) == [{"trades": 180}]

        # The same id again, at another price: one of the two is wrong.
        warehouse.load(TRADES, [{**trades[7], "price": Decimal("1"), "frame_id": "again"}])
        done = build()
        assert done["state"] == "failed", done
        (results,) = done["results"]
        assert "trade_copies_agree" in results["bad"]
