"""docs/airflow.md says what the DAGs and their settings are."""

from dataclasses import MISSING, fields
from pathlib import Path

from plugins.market_ops.settings import Settings
from sandbox.settings import ROOT
from tests.docs import markdown

AIRFLOW = ROOT / "docs" / "airflow.md"


def test_every_dag_is_there() -> None:
    shown = [cells[0].strip("`") for cells in markdown.rows(AIRFLOW, "DAGs")]
    assert sorted(shown) == sorted(path.stem for path in (ROOT / "dags").glob("*.py"))


def test_every_setting_is_there_with_its_default() -> None:
    shown = {
        cells[0].strip("`"): cells[1].strip("`")
        for cells in markdown.rows(AIRFLOW, "The Variable `market_ops`")
    }
    defaults = {}
    for field in fields(Settings):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        defaults[field.name] = "needed" if default is MISSING else str(default or "none")
    assert shown == {name: "none" if text == "()" else text for name, text in defaults.items()}


def test_every_variable_of_the_tasks_is_there() -> None:
    source = Path(ROOT / "plugins" / "market_ops" / "dbt.py").read_text("utf-8")
    for name in markdown.names(AIRFLOW, "Environment of the tasks"):
        if name.startswith("DBT_"):
            assert name in source
