"""One seed of the campaign, with a fixed script: everything breaks, nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.settings import ROOT, Settings

EMULATORS = Path(os.environ.get("SANDBOX_EMULATORS", Settings().emulators))
SCRIPT = Path(__file__).with_name("faults.yaml")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(420),
    pytest.mark.skipif(
        not (EMULATORS / "bin" / "python").exists(),
        reason=f"no emulators in {EMULATORS}; `make setup` installs them",
    ),
]


def test_everything_breaks_and_nothing_is_lost(tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "sandbox", "chaos", "--home", str(tmp_path / "sandbox")),
            *("--script", str(SCRIPT), "--json", str(output), "--keep"),
        ],
        cwd=ROOT,
        env={**os.environ, "SANDBOX_EMULATORS": str(EMULATORS)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
    )
    report = json.loads(output.read_text("utf-8"))
    (outcome,) = report["outcomes"]
    assert outcome["problems"] == [], run.stdout + run.stderr
    assert (run.returncode, report["passed"]) == (0, 1)
    assert len(outcome["injections"]) == 9
    assert outcome["symbols"] == 7
    assert outcome["trades"] > 1000
    # The dropped and the broken messages at least; what the cut and the kill took comes on top.
    assert outcome["holes"] >= 3
    assert outcome["healed_ids"] > 25 + 2
    home = tmp_path / "sandbox" / "chaos" / "seed-1"
    certificate = json.loads((home / "certificate.json").read_text("utf-8"))
    assert certificate["verdict"] == "COMPLETE"
    assert len({life["epoch"] for life in certificate["frames"]}) >= 2  # it was killed
    assert certificate["rejections"] != []  # the garbage
