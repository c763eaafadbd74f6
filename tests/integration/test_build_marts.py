"""`build_marts` through Airflow's own `dag.test`: a good build, and one that finds bad data."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from market_data.tables import TRADES
from sandbox.airflow.environment import airflow_environment, variable
from sandbox.settings import ROOT, Settings
from tests.integration.conftest import new_project
from tests.integration.test_dbt_models import Warehouse, made_up_trade, start_warehouse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

# What Airflow does with a DAG, without its scheduler, once for each line it reads; prints the state
# and the summary of dbt.
DRIVER = """
import json, sys
sys.path.insert(0, "plugins")
from airflow.utils import db
db.initdb()
from airflow.dag_processing.dagbag import DagBag
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
bag = DagBag("dags/build_marts.py")
dag = bag.dags["build_marts"]
dag.get_task("build").retries = 0
for line in sys.stdin:
    run = dag.test()
    with create_session() as session:
        of_run = session.query(XComModel).filter_by(run_id=run.run_id, key="results")
        results = [XComModel.deserialize_value(each) for each in of_run]
    print("answer " + json.dumps({"state": str(run.state), "results": results}), flush=True)
"""


@contextlib.contextmanager
def builder(warehouse: Warehouse, home: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Yield a function that runs the DAG once and returns its state and dbt's summary."""
    settings = Settings(home=home)
    told = {**variable(settings), "project": warehouse.project}
    log = home / "airflow.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            cwd=ROOT,
            env={
                **os.environ,
                **airflow_environment(settings),
                "AIRFLOW_VAR_MARKET_OPS": json.dumps(told),
                "BIGQUERY_EMULATOR_HOST": warehouse.url,
                "NO_PROXY": "127.0.0.1,localhost",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def build() -> dict[str, Any]:
            print("build", file=stdin, flush=True)
            for line in stdout:
                if line.startswith("answer "):
                    document: dict[str, Any] = json.loads(line.removeprefix("answer "))
                    return document
            raise AssertionError(log.read_text(errors="replace")[-4000:])

        yield build
        stdin.close()
        process.wait(30)


def test_a_build_and_one_that_finds_bad_data(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    warehouse = start_warehouse(request, tmp_path, new_project())
    trades = [made_up_trade("BTCUSDT", number, number, "60000") for number in range(1, 181)]
    warehouse.load(TRADES, trades)
    with builder(warehouse, tmp_path) as build:
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
