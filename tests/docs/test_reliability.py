"""reliability.md: every test that it names exists, every fault that there is stands in it."""

import re
from pathlib import Path

import yaml

from sandbox.chaos.plan import KILLABLE
from sandbox.cli import DEMO_FAULTS
from sandbox.faults.script import KINDS, PROCESSES, parse_script, read_script
from tests.docs import markdown

ROOT = Path(__file__).parents[2]
RELIABILITY = ROOT / "docs" / "reliability.md"
TEXT = RELIABILITY.read_text("utf-8")


def test_every_fault_is_documented() -> None:
    assert markdown.names(RELIABILITY, "Fault scripts", 0) == [*KINDS]


def test_every_process_that_can_be_killed_is_documented() -> None:
    assert ", ".join(PROCESSES) in TEXT
    for name in KILLABLE:
        assert f"`{name}`" in TEXT or f"--kill {name}" in TEXT


def test_the_example_and_the_scripts_that_are_shipped_are_right() -> None:
    for example in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL):
        assert parse_script(example).injections
    for path in (DEMO_FAULTS, ROOT / "tests" / "e2e" / "faults.yaml"):
        assert read_script(path).injections
        assert yaml.safe_load(path.read_text("utf-8"))["seed"]


def test_every_test_that_holds_a_promise_exists() -> None:
    sources: dict[str, str] = {}  # of all files of a name
    for path in (ROOT / "tests").rglob("test_*.py"):
        sources[path.name] = sources.get(path.name, "") + path.read_text("utf-8")
    named = re.findall(r"(test_\w+\.py)(?:::([\w:]+))?", TEXT)
    assert named
    for file, place in named:
        assert file in sources, file
        for name in filter(None, place.split("::")):
            defined = rf"^ *(def |async def |class )?{name}\b"
            assert re.search(defined, sources[file], re.MULTILINE), f"{file}::{place}"
