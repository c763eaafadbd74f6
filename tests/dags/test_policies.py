"""The policies can fail, each of them; and the DAG files' text keeps to them."""

from typing import Any

import pytest

from sandbox.settings import ROOT
from tests.dags.policies import source_violations, trigger_violations, violations

DOC = (
    "Does it.\n\n### What\n\na\n\n### Inputs and outputs\n\nb\n\n### When it fails\n\nc\n\n"
    "### Owner\n\nmarket-data\n"
)
TASK = {"owner": "market-data", "retries": 2, "execution_timeout": True}
GOOD: dict[str, Any] = {
    "doc": DOC,
    "tags": ["marts", "scheduled"],
    "max_active_runs": 1,
    "dagrun_timeout": 600.0,
    "catchup": False,
    "schedule": "*/3 * * * *",
    "tasks": {"build": TASK},
}

SOURCE = """
from datetime import timedelta
from airflow.sdk import dag, task
from market_ops.defaults import DEFAULT_ARGS, START

@dag(schedule=None, start_date=START, catchup=False, max_active_runs=1,
     dagrun_timeout=timedelta(hours=1), default_args=DEFAULT_ARGS, tags=["marts"], doc_md="")
def do_it():
    @task
    def work():
        from market_ops.settings import read_settings
        read_settings()
    work()

do_it()
"""


def test_a_good_one_passes() -> None:
    assert [*violations("build_marts", GOOD)] == []
    assert [*source_violations(SOURCE, "do_it")] == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"doc": DOC.replace("### Owner", "### Who")}, "doc: expected the sections"),
        ({"doc": DOC.replace("\nc\n", "\n")}, "doc: a section is empty"),
        ({"doc": ""}, "doc: expected the sections"),
        ({"tags": ["marts", "scheduled", "mine"]}, "tags: mine not in"),
        ({"tags": ["marts"]}, "tags: expected exactly one of"),
        ({"schedule": None}, "tags: scheduled or manual does not fit"),
        ({"catchup": True}, "catchup: expected False"),
        ({"max_active_runs": 16}, "max_active_runs: expected 1, was 16"),
        ({"dagrun_timeout": None}, "dagrun_timeout: is missing"),
        ({"tasks": {"build": {**TASK, "owner": "airflow"}}}, "build: expected owner market-data"),
        ({"tasks": {"build": {**TASK, "retries": 99}}}, "build: expected 0 to 5 retries"),
        (
            {"tasks": {"build": {**TASK, "execution_timeout": False}}},
            "execution_timeout is missing",
        ),
        ({"tasks": {}}, "tasks: there are none"),
    ],
)
def test_each_policy_can_fail(change: dict[str, Any], complaint: str) -> None:
    assert any(complaint in each for each in violations("build_marts", {**GOOD, **change}))


def test_a_name_without_a_noun_fails() -> None:
    assert any("verb_noun" in each for each in violations("marts", GOOD))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("catchup=False, ", "", "@dag: catchup is not given"),
        ("max_active_runs=1,", "", "@dag: max_active_runs is not given"),
        ("def do_it", "def do_that", "expected one DAG, named do_it"),
        ("\ndo_it()", "\ndo_it()\nx = Variable.get('x')", "Variable.get is called"),
        ("\ndo_it()", "\ndo_it()\nclient = bigquery.Client()", "bigquery.Client is called"),
        ("\ndo_it()", "\ndo_it()\nif True:\n    read_settings()", "read_settings is called"),
        ("from market_ops.settings", "from sandbox.settings", "imports sandbox.settings"),
        ("from datetime import", "import collector\nfrom datetime import", "imports collector"),
    ],
)
def test_each_policy_of_the_text_can_fail(old: str, new: str, complaint: str) -> None:
    assert old in SOURCE
    assert any(complaint in each for each in source_violations(SOURCE.replace(old, new), "do_it"))


@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.stem)
def test_every_file_keeps_to_them(path: Any) -> None:
    harmless = {"build_arguments"}  # plain values of this repository's own
    found = source_violations(path.read_text("utf-8"), path.stem)
    assert [each for each in found if not any(f"{name} is" in each for name in harmless)] == []


def test_no_trigger_is_ours() -> None:
    for path in (ROOT / "plugins").rglob("*.py"):
        assert [*trigger_violations(path.read_text("utf-8"))] == [], path
    bad = "class FramesLoaded(triggers.BaseTrigger):\n    pass\n"
    assert [*trigger_violations(bad)] == ["line 1: FramesLoaded is a trigger; use a provider's"]
