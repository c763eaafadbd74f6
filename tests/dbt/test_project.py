"""The dbt project's own rules, checked without dbt and without a warehouse.

That the documented columns are the tables' columns needs a warehouse: see
`tests/integration/test_dbt_models.py`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from market_data.dbt_sources import SOURCES, SOURCES_PATH, sources_document
from market_data.tables import DATASETS

DBT = Path(__file__).parents[2] / "dbt"
MODELS = DBT / "models"
LAYERS = ("staging", "intermediate", "marts")
BELOW = {
    "staging": ("source(",),
    "intermediate": ("ref('stg_", "ref('int_"),
    "marts": ("ref('int_", "ref('ohlcv_", "ref('kline_"),
}
# A window over all frames could not be pruned: it is made of those that the model needs.
READS_FURTHER = {"pipeline_latency": ("ref('stg_frames')",)}


@functools.cache
def parsed(file: Path) -> dict[str, Any]:
    """Return what a yml says; parsing it takes longer than all that is asked of it."""
    return yaml.load(file.read_text("utf-8"), yaml.CSafeLoader)  # type: ignore[no-any-return]


def documents(key: str) -> list[dict[str, Any]]:
    """Return the entries of `key` in all YAML files below dbt/models."""
    files = sorted(MODELS.rglob("*.yml"))
    return [entry for file in files for entry in parsed(file).get(key, [])]


SQL = {path.stem: path for path in sorted(MODELS.rglob("*.sql"))}
DOCUMENTED = {model["name"]: model for model in documents("models")}


def test_every_model_is_documented_once() -> None:
    assert sorted(DOCUMENTED) == sorted(SQL)
    assert len(documents("models")) == len(DOCUMENTED)


@pytest.mark.parametrize("name", SQL)
def test_model_and_its_columns_are_described(name: str) -> None:
    model = DOCUMENTED[name]
    assert model["description"].startswith("One row per ")
    assert model["columns"]
    undescribed = [c["name"] for c in model["columns"] if not c.get("description", "").strip()]
    assert undescribed == []


@pytest.mark.parametrize("name", SQL)
def test_model_has_a_data_test(name: str) -> None:
    assert DOCUMENTED[name]["data_tests"]


@pytest.mark.parametrize("name", [n for n, path in SQL.items() if path.parent.name == "marts"])
def test_mart_declares_the_types_of_its_contract(name: str) -> None:
    untyped = [c["name"] for c in DOCUMENTED[name]["columns"] if "data_type" not in c]
    assert untyped == []


@pytest.mark.parametrize("name", SQL)
def test_model_reads_only_the_layers_below(name: str) -> None:
    path = SQL[name]
    lines = [line for line in path.read_text().splitlines() if "ref(" in line or "source(" in line]
    assert lines
    allowed = (*BELOW[path.parent.name], *READS_FURTHER.get(name, ()))
    assert [line for line in lines if not any(b in line for b in allowed)] == []


@pytest.mark.parametrize("name", SQL)
def test_model_ends_with_final(name: str) -> None:
    assert SQL[name].read_text().endswith("\n)\n\nselect * from final\n")


def test_models_lie_in_the_layers() -> None:
    assert {path.parent.name for path in SQL.values()} == set(LAYERS)
    assert set(LAYERS) < set(DATASETS)


def test_logic_has_unit_tests() -> None:
    tested = {test["model"] for test in documents("unit_tests")}
    assert tested == {name for name, path in SQL.items() if path.parent.name != "staging"}


def parts(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an entry and what it is made of, in the semantic layer."""
    kinds = ("entities", "dimensions", "measures")
    return [entry, *(part for kind in kinds for part in entry.get(kind, []))]


@pytest.mark.parametrize("kind", ["exposures", "semantic_models", "metrics"])
def test_everything_published_is_described(kind: str) -> None:
    entries = documents(kind)
    assert entries
    named = [part for entry in entries for part in parts(entry)]
    assert [part["name"] for part in named if not part.get("description", "").strip()] == []


def test_selectors_are_described() -> None:
    selectors = yaml.safe_load((DBT / "selectors.yml").read_text())["selectors"]
    assert {s["name"] for s in selectors} == {"candles", "trust", "operations"}
    assert all(s["description"].strip() for s in selectors)


def test_sources_are_generated_from_the_records() -> None:
    """Mend a difference with `python -m market_data.tables --write`."""
    assert SOURCES_PATH.read_text("utf-8") == sources_document()


@pytest.mark.parametrize("table", SOURCES, ids=lambda table: table.full_name)
def test_staging_says_what_the_records_say(table: Any) -> None:
    """Staging is 1:1 with its source: all columns, the same descriptions."""
    described = {c["name"]: c["description"] for c in DOCUMENTED[f"stg_{table.name}"]["columns"]}
    derived = {"is_invalidated"}
    assert {n: d for n, d in described.items() if n not in derived} == {
        column.name: column.description for column in table.columns
    }
    assert DOCUMENTED[f"stg_{table.name}"]["description"] == table.description


def test_no_python_shadows_dbt() -> None:
    """A package `dbt` at the top level would be imported instead of dbt itself."""
    assert [path for path in DBT.rglob("*.py") if "target" not in path.parts] == []
