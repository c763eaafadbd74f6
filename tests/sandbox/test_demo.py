"""The sequence of a demo, over a platform that is only told about."""

import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox import closing, demo, lifecycle
from sandbox.demo import run_demo
from sandbox.progress import Progress
from sandbox.settings import Settings
from sandbox.state import READY, ServiceStatus, State

ARRIVED = Progress(
    exchange_now=datetime(2026, 1, 1, 0, 0, 57, tzinfo=UTC),
    sent=7,
    received=7,
    sealed=3,
    published=3,
    loaded_frames=3,
    loaded=7,
    rows=7,
    all_loaded_frames=3,
    archived_frames=3,
    is_sent_out=True,
)


@dataclass
class World:
    """Everything around the demo."""

    progress: Progress = ARRIVED
    verdict: str = "COMPLETE"
    is_running: bool = True
    events: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def read(self, *, exactly: bool = False) -> Progress:
        self.seconds += 1
        now = self.progress.exchange_now
        assert now is not None
        self.progress = replace(self.progress, exchange_now=now.replace(minute=1))
        return self.progress

    def state(self) -> State:
        gcs = ServiceStatus("gcs", READY, 7, 0, None, 1, 2, "", "http://h:1", "")
        return State(
            run_id="r",
            pid=1,
            phase=READY,
            started_at="2026-01-01T00:00:00+00:00",
            ready_seconds=2.0,
            peak_resident_bytes=5,
            services=(gcs,),
        )


class FakeMarts:
    def __init__(self, world: World) -> None:
        self._world = world
        self.runs = 0
        self.is_running = False
        self.peak_resident_bytes = 3
        self.log = Path("dbt.log")

    def start(self, command: str) -> None:
        self._world.events.append(f"dbt {command}")
        self.runs += 1

    def wait(self, meanwhile: Callable[[], object]) -> bool:
        meanwhile()
        return True

    def close(self) -> None:
        self._world.events.append("close dbt")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    def start(settings: Settings, *, owner: int | None) -> str:
        world.events.append("start")
        return "r"

    def wait_ready(settings: Settings, run_id: str, notice: Callable[[State], None]) -> State:
        notice(world.state())
        return world.state()

    def collect(platform: Any) -> dict[str, Any]:
        world.events.append("certify")
        return {"verdict": world.verdict, "peak": platform.peak_memory()}

    monkeypatch.setattr(lifecycle, "start", start)
    monkeypatch.setattr(lifecycle, "wait_ready", wait_ready)
    monkeypatch.setattr(lifecycle, "find", lambda _: world.state() if world.is_running else None)
    monkeypatch.setattr(lifecycle, "stop", lambda _: world.events.append("stop"))
    monkeypatch.setattr(lifecycle, "remove_data", lambda _: world.events.append("remove data"))
    monkeypatch.setattr(demo, "Reader", lambda _: world)
    monkeypatch.setattr(World, "read_stream", World.read, raising=False)
    monkeypatch.setattr(demo, "Marts", lambda *_: FakeMarts(world))
    monkeypatch.setattr(demo, "read_state", lambda _: world.state())
    for module in (closing, demo):
        monkeypatch.setattr(
            module, "post_json", lambda url, _: world.events.append(f"POST {url[-10:]}")
        )
    monkeypatch.setattr(demo, "_TICK_SECONDS", 0.001)
    monkeypatch.setattr(demo.time, "monotonic", lambda: world.seconds)
    certificate = types.SimpleNamespace(collect=collect, render=lambda *_: None)
    monkeypatch.setitem(sys.modules, "sandbox.certificate", certificate)
    for name in Settings().client_environment:
        monkeypatch.setenv(name, "set by the demo, restored by the test")
    return world


def run(settings: Settings, **options: Any) -> int:
    settings = replace(settings, airflow="off")
    defaults: dict[str, Any] = {
        "seconds": 2.0,
        "fresh": True,
        "leave": True,
        "output": None,
        "reference_klines": (),
    }
    return run_demo(settings, **{**defaults, **options})


def test_a_complete_demo(world: World, tmp_path: Path) -> None:
    output = tmp_path / "certificate.json"
    assert run(Settings(home=tmp_path), output=output) == 0
    assert [event for event in world.events if event != "dbt run"] == [
        *("remove data", "start", "POST /sim/pause", "dbt build", "certify", "close dbt", "stop")
    ]
    certificate = json.loads(output.read_text())
    assert certificate["peak"] == {"gcs": 2, "dbt": 3, "total": 5}


def test_an_incomplete_one_ends_with_1(world: World, tmp_path: Path) -> None:
    world.verdict = "INCOMPLETE"
    assert run(Settings(home=tmp_path)) == 1
    assert world.events[-1] == "stop"


def test_a_replay_ends_when_everything_was_served(world: World, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, exchange="recording")
    assert run(settings, seconds=None, fresh=False) == 0
    assert "POST /sim/pause" not in world.events
    assert "remove data" not in world.events


def test_a_stuck_pipeline_is_certified_all_the_same(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.progress = replace(ARRIVED, rows=6)
    world.verdict = "INCOMPLETE"
    assert run(Settings(home=tmp_path)) == 1
    assert "nothing moved for 60 s: loaded 6 of 7 trades" in capsys.readouterr().out
    assert "certify" in world.events


def test_a_sandbox_that_dies_ends_the_demo(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.is_running = False
    assert run(Settings(home=tmp_path)) == 1
    assert "the sandbox ended" in capsys.readouterr().out
    assert "certify" not in world.events


def test_a_sandbox_of_someone_else_is_left_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: Settings, *, owner: int | None) -> str:
        raise lifecycle.LifecycleError("a sandbox is running")

    monkeypatch.setattr(lifecycle, "start", refuse)
    with pytest.raises(lifecycle.LifecycleError):
        run(Settings(home=tmp_path), fresh=False)
    assert world.events == []


def test_an_output_that_cannot_be_written_is_known_before(world: World, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run(Settings(home=tmp_path), output=tmp_path / "no" / "certificate.json")
    assert world.events == []
