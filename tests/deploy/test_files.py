"""What is deployed: all that DAGs need, nothing that is made."""

import json
from pathlib import Path

import pytest

from deploy.files import CONNECTIONS, VARIABLES, contents, is_dag, source_files
from deploy.outputs import parse_outputs
from sandbox.settings import ROOT
from tests.deploy.test_outputs import GOOD


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    return dict(source_files(ROOT))


def test_each_part_goes_where_composer_looks_for_it(files: dict[str, Path]) -> None:
    assert {
        "dags/build_marts.py",
        "dags/dbt/dbt_project.yml",
        "dags/dbt/profiles.yml",
        "plugins/.airflowignore",
        "plugins/market_ops_plugin.py",
        "plugins/market_ops/settings.py",
        "plugins/market_ops/report/templates/report.html.j2",
        "plugins/market_ops/stream/health.html",
        "plugins/market_data/frames.py",
        "plugins/market_data/schemas/raw.trades.json",
    } <= set(files)


def test_what_is_made_stays_here(tmp_path: Path) -> None:
    kept = ("dags/a.py", "plugins/.airflowignore", "dbt/models/target.sql")
    made = (
        *("dags/requirements.txt", "dags/__pycache__/a.cpython-311.pyc", "dbt/target/run.json"),
        *("dbt/logs/dbt.log", "dbt/.user.yml", "dbt/dbt_packages/x/y.sql", "plugins/.cache/x"),
    )
    for name in (*kept, *made):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [name for name, _ in source_files(tmp_path)] == [
        *("dags/a.py", "plugins/.airflowignore", "dags/dbt/models/target.sql")
    ]


def test_python_of_dags_is_dags_only(files: dict[str, Path]) -> None:
    """Airflow imports whatever Python lies below `dags/`."""
    below = {name for name in files if name.startswith("dags/") and name.endswith(".py")}
    assert below == {name for name in files if is_dag(name)}
    assert len(below) == len(list((ROOT / "dags").glob("*.py")))


def test_no_package_is_taken_for_a_plugin(files: dict[str, Path]) -> None:
    ignored = files["plugins/.airflowignore"].read_text("utf-8").splitlines()
    packages = {name.split("/")[1] for name in files if name.startswith("plugins/market_")}
    assert {each for each in packages if "." not in each} <= set(ignored)


def test_variables_and_connections_are_files_for_airflow(tmp_path: Path) -> None:
    found = contents(tmp_path, parse_outputs("dev", GOOD))
    assert json.loads(found[VARIABLES]) == {"market_ops": GOOD["market_ops"]}
    assert json.loads(found[CONNECTIONS]) == GOOD["connections"]


def test_without_connections_there_is_no_file(tmp_path: Path) -> None:
    outputs = parse_outputs("dev", {**GOOD, "connections": {}})
    assert list(contents(tmp_path, outputs)) == [VARIABLES]
