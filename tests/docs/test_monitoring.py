"""docs/monitoring.md has every cause of `watch_stream`, with its stage, and no other."""

from pathlib import Path

from plugins.market_ops.stream.decisions import DECISIONS
from tests.docs import markdown

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring.md"
PARTS = ("Symptom", "Impact", "First look", "Fix")


def test_the_decision_table_is_the_documented_one() -> None:
    documented = [
        (cells[0].strip("`"), cells[1], cells[2])
        for cells in markdown.rows(MONITORING, "How a look decides")
    ]
    table = [
        (str(rule.cause), str(rule.stage), "inference" if rule.sight else "fact")
        for rule in DECISIONS
    ]
    assert sorted(documented) == sorted(table)


def test_every_incident_has_its_entry() -> None:
    text = MONITORING.read_text("utf-8").split("## Incidents")[1].split("## What is remembered")[0]
    entries = dict(entry.split("\n", 1) for entry in text.split("### ")[1:])
    assert sorted(entries) == sorted(str(rule.cause) for rule in DECISIONS)
    for cause, entry in entries.items():
        assert [line for line in PARTS if f"* **{line}.**" in entry] == list(PARTS), cause
