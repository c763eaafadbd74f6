"""The bag is what is expected, and every DAG keeps to the policies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.settings import ROOT
from tests.dags.conftest import Parse
from tests.dags.policies import violations

pytestmark = pytest.mark.integration

# All DAGs of the platform, and nothing else.
EXPECTED = (
    "backfill_history",
    "build_marts",
    "check_quality",
    "compact_archive",
    "repair_gaps",
    "replay_archive",
    "report_quality",
    "watch_stream",
)

FOLDER_SECONDS = 3.0
FILE_SECONDS = 1.0


def test_it_is_exactly_the_expected_set(bag: Mapping[str, Any]) -> None:
    assert sorted(bag["dags"]) == sorted(EXPECTED)


def test_it_imports_without_errors_or_warnings(bag: Mapping[str, Any]) -> None:
    assert bag["errors"] == {}
    assert bag["warnings"] == []


@pytest.mark.parametrize("name", EXPECTED)
def test_policies(bag: Mapping[str, Any], name: str) -> None:
    assert [*violations(name, bag["dags"][name])] == []


def test_parsing_imports_nothing_heavy(bag: Mapping[str, Any]) -> None:
    assert bag["heavy"] == []


def test_parsing_is_fast(bag: Mapping[str, Any]) -> None:
    assert bag["seconds"] < FOLDER_SECONDS
    assert {name: took for name, took in bag["files"].items() if took >= FILE_SECONDS} == {}


def test_what_parsing_must_not_do_is_seen(parse: Parse, tmp_path: Path) -> None:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "read_early.py").write_text(
        "from airflow.sdk import DAG, Variable\nDAG('read_early')\nVariable.get('market_ops')\n"
    )
    (folder / "load_much.py").write_text(
        "import warnings\nimport pyarrow\nfrom airflow.sdk import DAG\n"
        "warnings.warn('old')\nwith DAG('load_much'):\n    pass\n"
    )
    found = parse(folder)
    assert "read while the file is parsed" in found["errors"]["read_early.py"]
    assert "pyarrow" in found["heavy"]
    (warning,) = found["warnings"]
    assert "load_much.py:4: UserWarning: old" in warning


def test_every_file_is_a_dag(bag: Mapping[str, Any]) -> None:
    assert {path.stem for path in (ROOT / "dags").glob("*.py")} == set(bag["dags"])
