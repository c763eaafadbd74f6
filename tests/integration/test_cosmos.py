"""How `build_marts` runs dbt: needs Cosmos and Airflow, which take seconds to import."""

import json
from pathlib import Path
from typing import Any

import pytest

from plugins.market_ops.assets import MARTS
from plugins.market_ops.dbt import build_arguments, keep_results, project_folder, summarise
from sandbox.settings import ROOT

pytestmark = pytest.mark.integration

DOCUMENT: dict[str, Any] = {
    "elapsed_time": 12.3456,
    "results": [
        {
            "unique_id": "model.crypto_solutions.ohlcv_1m",
            "status": "success",
            "execution_time": 2.5,
            "message": "CREATE TABLE",
        },
        {
            "unique_id": "test.crypto_solutions.trades_are_unique.0123456789",
            "status": "fail",
            "execution_time": 0.5,
            "message": "Got 3 results, configured to fail if != 0",
        },
        {
            "unique_id": "model.crypto_solutions.ohlcv_5m",
            "status": "skipped",
            "execution_time": 0,
            "message": None,
        },
    ],
}


def test_summary() -> None:
    assert summarise(DOCUMENT) == {
        "statuses": {"success": 1, "fail": 1, "skipped": 1},
        "milliseconds": 12346,
        "bad": {"trades_are_unique": "Got 3 results, configured to fail if != 0"},
        "slowest": {"ohlcv_1m": 2500, "trades_are_unique": 500, "ohlcv_5m": 0},
    }


class Context(dict[str, Any]):
    """Airflow's context, as far as it is used."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}
        event = type("Event", (), {"extra": None})()
        super().__init__(ti=self, outlet_events={MARTS: event})

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.pushed[key] = value


def test_results_are_pushed_and_go_with_the_asset(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "run_results.json").write_text(json.dumps(DOCUMENT))
    context = Context()
    keep_results(str(tmp_path), context=context)
    assert context.pushed == {"results": summarise(DOCUMENT)}
    assert context["outlet_events"][MARTS].extra == {
        "statuses": {"success": 1, "fail": 1, "skipped": 1},
        "milliseconds": 12346,
    }


def test_a_build_that_ended_before_its_first_node_pushes_nothing(tmp_path: Path) -> None:
    context = Context()
    keep_results(str(tmp_path), context=context)
    assert context.pushed == {}


def test_the_project_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBT_PROJECT_DIR", raising=False)
    assert project_folder() == ROOT / "dbt"
    monkeypatch.setenv("DBT_PROJECT_DIR", "/home/airflow/gcs/dags/dbt")
    assert project_folder() == Path("/home/airflow/gcs/dags/dbt")


def test_without_a_word_the_real_warehouse_is_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBT_TARGET", raising=False)
    assert build_arguments()["profile_config"].target_name == "bigquery"
    monkeypatch.setenv("DBT_TARGET", "local")
    assert build_arguments()["profile_config"].target_name == "local"
