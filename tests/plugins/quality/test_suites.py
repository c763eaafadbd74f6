"""Each expectation says how much it matters, what it means and what to do, of columns there are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from market_data.tables import TABLES
from plugins.market_ops.quality.suites import SUITE_NAMES, SUITES
from plugins.market_ops.quality.truths import Expectation, Suite
from plugins.market_ops.quality.window import Window
from tests.docs import markdown

ROOT = Path(__file__).parents[3]
END = datetime(2026, 3, 2, tzinfo=UTC)
WINDOW = Window(END - timedelta(hours=6), END, END)
BUILT = [suite(WINDOW, timedelta(hours=1)) for suite in SUITES]
TRUTHS = [(suite, truth) for suite in BUILT for truth in suite.expectations]
# Names that a query gives to what it computes.
COMPUTED = {"body_low", "body_high"}


@pytest.fixture(scope="module")
def columns() -> dict[str, set[str]]:
    """The columns of every table of ours and of every model of dbt."""
    found = {table.full_name: {c.name for c in table.columns} for table in TABLES}
    for dataset in ("marts", "intermediate"):
        for path in (ROOT / "dbt" / "models" / dataset).glob("*.yml"):
            for model in yaml.load(path.read_text("utf-8"), yaml.CSafeLoader).get("models", []):
                names = {column["name"] for column in model.get("columns", [])}
                found[f"{dataset}.{model['name']}"] = names
    return found


def test_suites_are_named_as_their_functions() -> None:
    assert tuple(suite.name for suite in BUILT) == SUITE_NAMES


@pytest.mark.parametrize("suite", BUILT, ids=SUITE_NAMES)
def test_tables_and_columns_exist(suite: Suite, columns: dict[str, set[str]]) -> None:
    assert set(suite.others) <= columns.keys()
    known = columns[suite.table] | COMPUTED
    assert set(suite.keys) <= known
    named = {name for truth in suite.expectations for name in truth.columns}
    assert named <= known
    selected = re.search(r"select (.*?) from", suite.query)
    assert selected is not None
    read = set(re.findall(r"[a-z_]+", selected[1])) - {"least", "greatest", "as"}
    assert read <= known, "the batch reads a column that is not there"
    assert named <= read, "the batch lacks a column that is looked at"
    assert set(suite.keys) <= read


@pytest.mark.parametrize("suite", BUILT, ids=SUITE_NAMES)
def test_every_table_that_is_read_is_named(suite: Suite) -> None:
    """A missing one is told by name, before anything is asked."""
    queries = [suite.query, *map(sql, suite.expectations)]
    read = {".".join(names) for q in queries for names in re.findall(r"`(\w+)`\.`(\w+)`", q)}
    assert read == {suite.table, *suite.others}


def sql(truth: Expectation) -> str:
    return str(truth.arguments.get("unexpected_rows_query", ""))


@pytest.mark.parametrize("suite", BUILT, ids=SUITE_NAMES)
def test_names_are_unique(suite: Suite) -> None:
    names = [truth.name for truth in suite.expectations]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]+", name) for name in names)


@pytest.mark.parametrize(
    "truth", [t for _, t in TRUTHS], ids=[f"{s.name}-{t.name}" for s, t in TRUTHS]
)
def test_a_truth_says_what_it_means_and_what_to_do(truth: Expectation) -> None:
    assert truth.severity in ("fail", "warn")
    assert truth.threshold
    for sentence in (truth.meaning, truth.remedy):
        assert re.fullmatch(r"\S.*[.?]", sentence), sentence
        assert "  " not in sentence


@pytest.mark.parametrize("suite", BUILT, ids=SUITE_NAMES)
def test_an_empty_window_only_warns(suite: Suite) -> None:
    (truth,) = (truth for truth in suite.expectations if truth.name == "has_rows")
    assert truth.severity == "warn"


@pytest.mark.parametrize("suite", BUILT, ids=SUITE_NAMES)
def test_queries_look_at_a_window_and_hold_no_parameters(suite: Suite) -> None:
    for query in (suite.query, *map(sql, suite.expectations)):
        assert not re.search("[:%]", query), "SQLAlchemy reads parameters into it"
        for table in re.findall(r"from `\w+`\.`\w+`", query):
            after = query.partition(table)[2].partition("union all")[0]
            assert "timestamp_micros(" in after or "date '" in after, f"{table}: all of it"


def test_bounds_are_never_prices() -> None:
    """Great Expectations sends numbers as floating point, which is exact for 0 and counts."""
    for _, truth in TRUTHS:
        for name in ("min_value", "max_value"):
            bound = truth.arguments.get(name, 0)
            assert bound in (0, 1) or isinstance(bound, datetime), truth.name


@pytest.mark.parametrize("suite", BUILT, ids=SUITE_NAMES)
def test_the_page_says_what_the_suite_says(suite: Suite) -> None:
    shown = [
        (cells[0].strip("`"), *cells[1:])
        for cells in markdown.rows(ROOT / "docs" / "quality.md", suite.name)
    ]
    truths = [(t.name, t.severity, t.meaning, t.remedy) for t in suite.expectations]
    assert shown == truths
