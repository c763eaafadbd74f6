"""docs/dataflow.md against the template, the outputs and the measured rate."""

import json
import math
import re

from deploy.dataflow import _PARAMETERS, _RULES, METADATA
from sandbox.settings import ROOT
from tests.docs import markdown

DOCUMENT = ROOT / "docs" / "dataflow.md"
# Of the rate; see the document.
PLANNED, COLLECTORS, VCPU, OBJECT_BYTES, LINE_BYTES = 0.5, 2, 2, 64e6, 17


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_parameters() -> None:
    template = json.loads((ROOT / METADATA).read_text("utf-8"))
    names = [each["name"] for each in template["parameters"]]
    assert markdown.names(DOCUMENT, "Options of a launch") == names


def test_outputs() -> None:
    assert set(markdown.names(DOCUMENT, "Outputs")) == {*_RULES, _PARAMETERS}


def test_sizes_follow_from_the_measured_rate() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    (measured,) = re.findall(
        r"^\| Beam job on DirectRunner \|.*\| ([\d,]+) \|$", text, re.MULTILINE
    )
    assert f"the job does {measured} trades/s" in DOCUMENT.read_text("utf-8")
    rows = [cells for cells in markdown.rows(DOCUMENT, "Sizing") if len(cells) == 6]
    assert [cells[0] for cells in rows] == ["1,000", "50,000", "500,000"]
    for rate, lines, vcpu, workers, most, shards in (
        [number(cell) for cell in row] for row in rows
    ):
        needed = lines / number(measured) / PLANNED
        assert lines == rate * COLLECTORS
        assert abs(vcpu - needed) < 0.1
        assert workers == max(1, math.ceil(needed / VCPU))
        assert most == 2 * workers
        assert shards == max(1, math.ceil(lines * 60 * LINE_BYTES / OBJECT_BYTES))
