"""Building the marts, with a library that stands in for dbt."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox.marts import Marts
from sandbox.process import members
from sandbox.settings import Settings, platform_of

pytestmark = pytest.mark.integration

DBT = """
import json, os, time
class Result:
    exception = None
    def __init__(self, success, result=None):
        self.success, self.result = success, result
class dbtRunner:
    def __init__(self, manifest):
        self.manifest = manifest
    def invoke(self, arguments):
        if "parse" in arguments:
            return Result({parses}, f"manifest of {{time.time_ns()}}")
        names = ("BIGQUERY_EMULATOR_HOST", "DBT_TARGET", "DBT_TARGET_PATH")
        told = {{name: os.environ[name] for name in names}}
        told |= {{"pids": [os.getpid(), os.getppid()], "manifest": self.manifest}}
        print(json.dumps({{"arguments": arguments, **told}}), flush=True)
        time.sleep({seconds})
        return Result({good})
"""
FLAGS = """
class BehaviorFlagRendered:
    @staticmethod
    def _default_source(): ...
"""


@pytest.fixture
def run_id(tmp_path: Path) -> str:
    return f"test-{tmp_path}"


@pytest.fixture
def build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_id: str
) -> Iterator[Callable[..., Marts]]:
    made: list[Marts] = []

    def make(*, seconds: float = 0, good: bool = True, parses: bool = True) -> Marts:
        library = tmp_path / "library"
        dbt = DBT.format(seconds=seconds, good=good, parses=parses)
        texts = {"dbt/cli/main.py": dbt, "dbt_common/behavior_flags.py": FLAGS}
        for name in (*texts, "dbt/__init__.py", "dbt/cli/__init__.py", "dbt_common/__init__.py"):
            (library / name).parent.mkdir(parents=True, exist_ok=True)
            (library / name).write_text(texts.get(name, ""))
        monkeypatch.setenv("PYTHONPATH", str(library))
        for folder in ("logs", "project/target"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "project" / "model.sql").touch()
        platform = platform_of(
            Settings(home=tmp_path),
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
            ready_seconds=1,
            peak_memory=dict,
        )
        platform = replace(platform, dbt_dir=tmp_path / "project")
        made.append(Marts(Settings(home=tmp_path), platform, run_id))
        return made[0]

    yield make
    made[0].close()


def wait(built: Marts) -> bool:
    deadline = time.monotonic() + 20

    def meanwhile() -> None:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    return built.wait(meanwhile)


def told(built: Marts, command: str) -> dict[str, Any]:
    built.start(command)
    assert wait(built), built.log.read_text()
    answer: dict[str, Any] = json.loads(built.log.read_text())
    return answer


def test_dbt_is_told_where_everything_is(tmp_path: Path, build: Callable[..., Marts]) -> None:
    built = build()
    assert not built.is_running
    answer = told(built, "build")
    assert built.runs == 1
    assert answer["arguments"][2] == "build"
    assert answer["arguments"][3:5] == ["--exclude-resource-type", "unit_test"]
    assert answer["arguments"][5:7] == ["--project-dir", str(tmp_path / "project")]
    assert answer["BIGQUERY_EMULATOR_HOST"] == "http://127.0.0.1:9050"
    assert answer["DBT_TARGET"] == "local"
    assert answer["DBT_TARGET_PATH"] == str(tmp_path / "dbt" / "target")


def test_a_failed_build_is_told(build: Callable[..., Marts]) -> None:
    built = build(good=False)
    built.start("run")
    assert wait(built) is False


def test_a_project_that_cannot_be_read_is_a_failed_build(build: Callable[..., Marts]) -> None:
    built = build(parses=False)
    built.start("run")
    assert wait(built) is False


def test_dbt_is_started_once_and_each_command_is_a_fork(build: Callable[..., Marts]) -> None:
    built = build()
    first, second = told(built, "run"), told(built, "run")
    assert first["pids"][1] == second["pids"][1]
    assert len({*first["pids"], *second["pids"]}) == 3
    assert built.cpu_seconds > 0


def test_the_project_is_read_again_and_views_made_again_when_a_file_changed(
    tmp_path: Path, build: Callable[..., Marts]
) -> None:
    built = build()
    answers = [told(built, "run"), told(built, "run"), told(built, "build")]
    (tmp_path / "project" / "target" / "manifest.json").touch()
    answers.append(told(built, "run"))
    (tmp_path / "project" / "model.sql").write_text("select 2")
    answers.append(told(built, "run"))
    assert len({answer["manifest"] for answer in answers[:4]}) == 1
    assert answers[4]["manifest"] != answers[3]["manifest"]
    leaves_out_views = ["config.materialized:view" in answer["arguments"] for answer in answers]
    assert leaves_out_views == [False, True, False, True, False]


def test_a_dbt_that_ended_is_started_again(build: Callable[..., Marts]) -> None:
    built = build()
    first = told(built, "run")
    built.start("run")
    os.kill(first["pids"][1], signal.SIGKILL)
    assert wait(built) is False
    assert told(built, "run")["pids"][1] != first["pids"][1]


def test_one_build_at_a_time_and_none_after_close(build: Callable[..., Marts], run_id: str) -> None:
    built = build(seconds=600)
    built.start("run")
    built.start("run")
    deadline = time.monotonic() + 20
    while len(members(run_id)) < 2:
        assert built.is_running
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(members(run_id)) == 2
    built.close()
    assert members(run_id) == []
    assert built.peak_resident_bytes > 0
