import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from google.api_core.exceptions import NotFound

from beam_jobs import replay_archive
from beam_jobs.replay_archive import build, main, show_proof
from beam_jobs.replay_options import Replay, check_replay
from tests.beam_jobs.test_stream_trades import Steps

GOOD = [
    "--project=test-project",
    "--archive=gs://archive",
    "--first=2026-02-02T02",
    "--last=2026-02-02T02",
]


@pytest.fixture
def replay() -> Replay:
    return check_replay(PipelineOptions(GOOD), datetime(2026, 3, 1, tzinfo=UTC))


def test_the_pipeline_reads_like_a_table_of_contents(replay: Replay) -> None:
    pipeline = beam.Pipeline(runner="BundleBasedDirectRunner", options=PipelineOptions(GOOD))
    build(pipeline, "test-project", replay)
    steps = Steps()
    pipeline.visit(steps)
    assert steps.names == [
        *("Hours", "Find objects", "Spread objects", "Read objects", "Group by frame"),
        *("Take each frame once", "Count frames", "Empty hours", "All hours", "Group by hour"),
        *("Find what is missing", "Missing", "Load rows", "Replayed", "Load rejections"),
        *("Before", "Prove hours", "All problems", "Once", "Write proof"),
    ]


def test_wrong_options_end_it_with_all_mistakes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_archive, "create_tables", lambda *_: pytest.fail("it went on"))
    assert main(["--first=yesterday", "--last=2026-02-02T02"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["--archive", "--project", "--first"]


class TestShowProof:
    def show(self, monkeypatch: pytest.MonkeyPatch, replay: Replay, proof: Any) -> int:
        def download_as_bytes(timeout: float) -> bytes:
            if proof is None:
                raise NotFound("no")
            return json.dumps(proof).encode()

        blob = SimpleNamespace(download_as_bytes=download_as_bytes)
        bucket = SimpleNamespace(blob=lambda name: blob)
        client = SimpleNamespace(bucket=lambda name: bucket)
        monkeypatch.setattr(replay_archive, "storage_client", lambda project: client)
        return show_proof("project", replay)

    def test_the_exit_code_is_the_verdict(
        self, monkeypatch: pytest.MonkeyPatch, replay: Replay, capsys: pytest.CaptureFixture[str]
    ) -> None:
        symbols = [{"symbol": name, "is_equal": name == "A"} for name in "AB"]
        for is_proven, code in ((True, 0), (False, 1)):
            proof = {"is_proven": is_proven, "symbols": symbols}
            assert self.show(monkeypatch, replay, proof) == code
        printed = capsys.readouterr().out
        assert '"B"' in printed
        assert '"A"' not in printed

    def test_a_job_without_a_proof(
        self, monkeypatch: pytest.MonkeyPatch, replay: Replay, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.show(monkeypatch, replay, None) == 1
        assert "the job has written no proof" in capsys.readouterr().err
