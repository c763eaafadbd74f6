"""docs/replay.md says what the job's options and its proof are."""

from beam_jobs.archive import ArchiveKey
from beam_jobs.proof import HourProof, proof_document
from sandbox.settings import ROOT
from tests.docs import markdown
from tests.docs.test_docs import flags_added_in

REPLAY = ROOT / "docs" / "replay.md"


def test_options() -> None:
    shown = {cells[0].strip("`") for cells in markdown.rows(REPLAY, "Options")}
    assert shown == flags_added_in("beam_jobs/replay_options.py")


def test_fields_of_the_proof() -> None:
    key = ArchiveKey("spot", "trade", "2026-02-02T02", 0)
    fields = set(proof_document({}, [HourProof(key, 0, {}, {}, {}, [], [])], [], []))
    text = REPLAY.read_text("utf-8").partition("## The proof")[2].partition("\n## ")[0]
    assert {name for name in fields if f"`{name}`" not in text} == set()
