import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plugins.market_ops.archive import replay
from plugins.market_ops.archive.replay import (
    NotProven,
    WrongOptions,
    find_proof,
    job_options,
    judge,
    proof_name,
    read_proof,
    run_here,
    start_on_dataflow,
)
from plugins.market_ops.settings import Settings

SETTINGS = Settings(project="my-project", bucket="my-archive", location="EU")
ADDRESS = "http://gcs/my-archive/replays/p.json"
PARAMS = {
    "first": "2026-02-02T02",
    "last": "2026-02-02T03",
    "channels": ["trade", "kline"],
    "symbols": None,
    "tables": None,
}
TOTALS = {"count": 2, "sum_ids": "3", "sum_quantity": "0.4", "sum_quote_quantity": None}
NOTHING = {"count": 0, "sum_ids": "0", "sum_quantity": None, "sum_quote_quantity": None}


def proof(**changes: Any) -> dict[str, Any]:
    symbol = {"channel": "trade", "symbol": "BTCUSDT", "is_equal": True}
    return {
        "is_proven": True,
        "frames": 5,
        "rows": 2,
        "replayed_frames": 1,
        "replayed_rows": 2,
        "problems": [],
        "different_frames": 0,
        "differences": [],
        "unarchived_frames": 0,
        "unarchived": [],
        "symbols": [symbol | {"archive": TOTALS, "before": NOTHING, "table": TOTALS}],
        **changes,
    }


def different(symbol: str) -> dict[str, Any]:
    found = {"channel": "trade", "symbol": symbol, "is_equal": False}
    return found | {"archive": TOTALS, "before": NOTHING, "table": NOTHING}


class Bucket:
    """A bucket with one proof, or none."""

    name = "my-archive"

    def __init__(self, document: dict[str, Any] | None) -> None:
        self.document = document

    def blob(self, name: str) -> Any:
        return SimpleNamespace(
            exists=lambda timeout: self.document is not None,
            download_as_bytes=lambda timeout: json.dumps(self.document).encode(),
        )


class TestJobOptions:
    def test_what_is_not_given_is_left_to_the_job(self) -> None:
        assert job_options(SETTINGS, PARAMS, "replays/p.json") == {
            "project": "my-project",
            "archive": "gs://my-archive",
            "dataset_location": "EU",
            "first": "2026-02-02T02",
            "last": "2026-02-02T03",
            "channels": "trade,kline",
            "proof": "replays/p.json",
        }

    def test_symbols_and_another_dataset(self) -> None:
        params = PARAMS | {"symbols": ["BTCUSDT", "ETHUSDT"], "tables": "again"}
        found = job_options(SETTINGS, params, "p")
        assert (found["symbols"], found["tables"]) == ("BTCUSDT,ETHUSDT", "again")

    def test_each_attempt_has_a_proof_of_its_own(self) -> None:
        name = proof_name("manual__2026-02-02T02:00:00+00:00", 2)
        assert name == "replays/manual__2026-02-02T02-00-00-00-00.2.json"


class TestJudge:
    def test_a_proof(self) -> None:
        figures = {"frames": 5, "rows": 2, "replayed_frames": 1, "replayed_rows": 2}
        assert judge(proof(), ADDRESS) == figures

    def complaint(self, **changes: Any) -> str:
        with pytest.raises(NotProven) as caught:
            judge(proof(**changes), ADDRESS)
        text = str(caught.value)
        assert text.endswith(f"proof: {ADDRESS}")
        return text

    def test_symbols_that_differ(self) -> None:
        text = self.complaint(symbols=[different("BTCUSDT")], differences=["BTCUSDT of frame f"])
        assert text.startswith(
            "BTCUSDT (trade): the archive has 2 rows (ids 3, quantity 0.4), the table nothing\n"
        )

    def test_many_symbols_are_counted(self) -> None:
        text = self.complaint(symbols=[different(f"S{number}") for number in range(25)])
        assert "\n5 more symbols differ\n" in text

    def test_objects_and_frames(self) -> None:
        assert self.complaint(problems=["raw/x: its SHA-256 is"]).startswith("raw/x: its SHA")
        assert "BTCUSDT of frame f" in self.complaint(differences=["BTCUSDT of frame f"])
        text = self.complaint(unarchived=["a", "b", "c", "d"], unarchived_frames=4)
        assert text.startswith("4 frames are in ops.frames and in no readable object, such as a, b")

    def test_it_is_read_from_the_bucket(self) -> None:
        assert read_proof(Bucket(proof()), "replays/p.json") == proof()  # type: ignore[arg-type]


@pytest.mark.integration
class TestRunHere:
    def run(self, code: int, monkeypatch: Any, folder: Path) -> None:
        """Run a job that says its options and ends with a code."""
        (folder / "job.py").write_text(
            f"import sys; print('asked', sys.argv[1:]); print('--first: wrong'); sys.exit({code})"
        )
        monkeypatch.setattr(replay, "JOB", "job")
        monkeypatch.setattr(replay, "FOLDER", folder)
        run_here({"first": "2026-02-02T02", "proof": "replays/p.json"})

    @pytest.mark.parametrize("code", [0, 1])
    def test_whatever_the_proof_says(
        self, code: int, monkeypatch: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        self.run(code, monkeypatch, tmp_path)
        asked = ["--runner=DirectRunner", "--first=2026-02-02T02", "--proof=replays/p.json"]
        assert f"asked {asked}" in caplog.messages

    def test_wrong_options_are_told(self, monkeypatch: Any, tmp_path: Path) -> None:
        with pytest.raises(WrongOptions, match="--first: wrong"):
            self.run(2, monkeypatch, tmp_path)

    def test_a_stopped_task_stops_the_job(self, monkeypatch: Any, tmp_path: Path) -> None:
        class Stopped(BaseException):
            pass

        started: list[subprocess.Popen[str]] = []

        class Popen(subprocess.Popen[str]):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                started.append(self)

        def info(*arguments: Any) -> None:
            if "begun" in arguments:
                raise Stopped

        (tmp_path / "job.py").write_text("import time; print('begun', flush=True); time.sleep(60)")
        monkeypatch.setattr(replay, "JOB", "job")
        monkeypatch.setattr(replay, "FOLDER", tmp_path)
        monkeypatch.setattr(replay.subprocess, "Popen", Popen)
        monkeypatch.setattr(replay.logger, "info", info)
        with pytest.raises(Stopped):
            run_here({"proof": "p"})
        assert started[0].returncode == -15


class TestFindProof:
    def test_it_is_there(self) -> None:
        find_proof(Bucket(proof()), "replays/p.json", "")  # type: ignore[arg-type]

    def test_no_proof(self) -> None:
        with pytest.raises(
            RuntimeError, match=r"gs://my-archive/replays/p.json: .* \(it was cancelled\)"
        ):
            find_proof(Bucket(None), "replays/p.json", "it was cancelled")  # type: ignore[arg-type]


class TestStartOnDataflow:
    def test_it_needs_a_template(self) -> None:
        settings = Settings(project="my-project", bucket="b-b", dataflow={"region": "europe-west1"})
        with pytest.raises(WrongOptions, match="dataflow has no replay_template"):
            start_on_dataflow(settings, {"proof": "p"})

    def test_it_starts_the_template(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[dict[str, Any]] = []

        class Hook:
            def __init__(self, **options: Any) -> None:
                assert options == {"gcp_conn_id": "google_cloud_default"}

            def launch_job_with_flex_template(self, **options: Any) -> dict[str, str]:
                asked.append(options)
                return {"id": "job-1"}

            def extract_job_id(self, job: dict[str, str]) -> str:
                return job["id"]

        name = "airflow.providers.google.cloud.hooks.dataflow"
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(DataflowHook=Hook))  # type: ignore[arg-type]
        dataflow = {"region": "europe-west1", "replay_template": "gs://t/replay.json"}
        settings = Settings(project="my-project", bucket="b-b", dataflow=dataflow)
        assert start_on_dataflow(settings, {"project": "my-project", "proof": "p"}) == "job-1"
        (asked_for,) = asked
        launch = asked_for["body"]["launchParameter"]
        assert launch.pop("jobName").startswith("replay-archive-20")
        assert launch == {
            "containerSpecGcsPath": "gs://t/replay.json",
            "parameters": {"proof": "p"},
        }
        assert (asked_for["location"], asked_for["project_id"]) == ("europe-west1", "my-project")
