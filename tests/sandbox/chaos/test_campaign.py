"""The sequence of a campaign, over a sandbox that is only told about."""

import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from market_data.frames import FrameKey
from sandbox import lifecycle
from sandbox.chaos import campaign
from sandbox.chaos.campaign import run_campaign
from sandbox.chaos.plan import Plan
from sandbox.faults.run import Injected
from sandbox.progress import Progress
from sandbox.settings import Settings
from sandbox.state import READY, ServiceStatus, State

ARRIVED = Progress(
    sent=7, received=7, sealed=3, published=3, loaded_frames=3, all_loaded_frames=3,
    loaded=7, rows=7, archived_frames=3,
)  # fmt: skip
TOTALS = {"count": 7}


@dataclass
class World:
    progress: Progress = ARRIVED
    problems: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    leaked: list[Any] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    builds: bool = True
    is_trading: bool = True
    last_id: int = 0
    loaded: set[FrameKey] = field(default_factory=set)
    archived: int = 2
    settings: Settings | None = None

    def read(self, *, exactly: bool = False) -> Progress:
        return self.progress

    read_stream = read

    def loaded_frames(self) -> set[FrameKey]:
        """Another one is loaded after each look: connections are replaced for ever."""
        frames = set(self.loaded)
        self.loaded.add(("c", 1, len(self.loaded) + 1))
        return frames

    def not_archived(self, frames: set[FrameKey]) -> set[FrameKey]:
        return {frame for frame in frames if frame[2] > self.archived}

    def state(self) -> State:
        collector = ServiceStatus("collector", READY, 7, 0, None, 1, 2 << 20, "", "http://h", "")
        return State("r", 1, READY, "2026-01-01T00:00:00+00:00", services=(collector,))

    def get(self, url: str) -> tuple[int, bytes]:
        """Each look at the ledger finds one more trade."""
        self.last_id += self.is_trading and url.endswith("/ledger")
        row = {"symbol": "BTCUSDT", "channel": "trade", "last_id": self.last_id}
        body = {"trades": [row], "agg_trades": [], "symbols": [row]}
        return 200, json.dumps(body).encode()

    def start(self, settings: Settings, *, owner: int) -> str:
        self.settings = settings
        self.loaded = {("c", 1, 1), ("c", 1, 2)}
        self.events.append(f"start {settings.home.name} seed {settings.seed}")
        return "r"

    def run_script(self, script: Any) -> list[Injected]:
        self.events.append(f"script of {script.seed}")
        return [Injected("", 1.0, "cut", {}, {})]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Runner:
        def __init__(self, script: Any, *_: object, **__: object) -> None:
            self._script = script

        def run(self, is_stopped: Callable[[], bool]) -> list[Injected]:
            return world.run_script(self._script)

    class Marts:
        log = Path("dbt.log")

        def __init__(self, *_: object) -> None:
            pass

        def start(self, command: str) -> None:
            world.events.append(f"dbt {command}")

        def wait(self, meanwhile: Callable[[], object]) -> bool:
            return world.builds

        def close(self) -> None:
            world.events.append("close dbt")

    row = {"channel": "trade", "exchange": TOTALS}
    monkeypatch.setattr(lifecycle, "start", world.start)
    monkeypatch.setattr(lifecycle, "wait_ready", lambda *_: world.state())
    monkeypatch.setattr(lifecycle, "stop", lambda _: world.events.append("stop"))
    monkeypatch.setattr(campaign, "Runner", Runner)
    monkeypatch.setattr(campaign, "Reader", lambda _: world)
    monkeypatch.setattr(campaign, "Marts", Marts)
    monkeypatch.setattr(campaign, "members", lambda _: world.leaked)
    monkeypatch.setattr(campaign, "read_state", lambda _: world.state())
    monkeypatch.setattr(campaign, "read_holes", lambda _: [])
    monkeypatch.setattr(campaign, "_STUCK_SECONDS", 0.002)
    monkeypatch.setattr(campaign, "_SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(campaign, "get", world.get)
    monkeypatch.setattr(campaign, "_TICK_SECONDS", 0.001)
    monkeypatch.setattr(campaign, "post_json", lambda url, _: world.events.append(url[-5:]))
    monkeypatch.setattr(campaign.prove, "fetched_ids", lambda _: [])
    monkeypatch.setattr(campaign.prove, "repeated_trades", lambda _: 2)
    certificate = types.SimpleNamespace(
        collect=lambda _: {"problems": world.problems, "symbols": [row]}
    )
    monkeypatch.setitem(sys.modules, "sandbox.certificate", certificate)
    equality = types.SimpleNamespace(compare_stages=lambda *_: ([], world.unequal))
    monkeypatch.setitem(sys.modules, "sandbox.equality", equality)
    for name in (*Settings().client_environment, *campaign.COLLECTOR):
        monkeypatch.setenv(name, "set by the campaign, restored by the test")
    return world


def run(tmp_path: Path, **changes: Any) -> tuple[int, dict[str, Any]]:
    output = tmp_path / "report.json"
    plan = Plan(**{"seeds": 2, "home": tmp_path / "chaos", **changes})
    code = run_campaign(Settings(home=tmp_path), plan, output)
    return code, json.loads(output.read_text("utf-8"))


def test_every_seed_has_a_sandbox_of_its_own(world: World, tmp_path: Path) -> None:
    code, report = run(tmp_path, first=4)
    assert code == 0
    one = ["script of 4", "pause", "dbt run", "close dbt", "stop"]
    assert world.events[:6] == ["start seed-4 seed 4", *one]
    assert world.events[6] == "start seed-5 seed 5"
    assert report["passed"] == 2
    outcome = report["outcomes"][0]
    assert (outcome["trades"], outcome["symbols"], outcome["repeated"]) == (7, 1, 2)
    assert outcome["peak_mib"] == {"collector": 2}
    assert set(outcome["seconds"]) == {"start", "faults", "drain", "marts", "proof", "stop"}
    assert not (tmp_path / "chaos" / "seed-4").exists()
    assert world.settings is not None
    assert (world.settings.pubsub, world.settings.airflow) == ("embedded", "off")


def test_a_seed_that_fails_keeps_its_logs_and_says_how_to_repeat_it(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.problems = ["BTCUSDT: loaded has 3"]
    world.unequal = ["BTCUSDT 03:14: archive has 3, table has 2"]
    code, report = run(tmp_path, first=9, seeds=1, kill="bigquery")
    assert (code, report["passed"]) == (1, 0)
    assert report["outcomes"][0]["problems"] == world.unequal + world.problems
    assert (tmp_path / "chaos" / "seed-9" / "script.yaml").exists()
    text = capsys.readouterr().out
    assert "BTCUSDT: loaded has 3" in text
    command = "python -m sandbox chaos --first 9 --seeds 1 --seconds 40 --rate 200 --kill bigquery"
    assert command in text
    assert world.settings is not None
    assert world.settings.tables == "disk"


def test_what_does_not_arrive_is_named(world: World, tmp_path: Path) -> None:
    world.progress = replace(ARRIVED, holes=3)
    world.builds = False
    _, report = run(tmp_path, seeds=1)
    drained, built = report["outcomes"][0]["problems"]
    assert drained.endswith("3 trades are missing in between")
    assert built == "dbt run failed; its log is dbt.log"


def test_frames_that_are_not_archived_are_named(world: World, tmp_path: Path) -> None:
    world.archived = 1
    _, report = run(tmp_path, seeds=1)
    (problem,) = report["outcomes"][0]["problems"]
    assert problem.endswith("1 of 2 frames are not archived")


def test_a_symbol_that_never_trades_again_proves_nothing(world: World, tmp_path: Path) -> None:
    world.is_trading = False
    _, report = run(tmp_path, seeds=1)
    (problem,) = report["outcomes"][0]["problems"]
    assert problem == "no message since the last fault within 0 s: BTCUSDT trade"


def test_a_process_that_outlives_the_run_fails_the_seed(world: World, tmp_path: Path) -> None:
    world.leaked = [type("Process", (), {"pid": 77})()]
    code, report = run(tmp_path, seeds=1)
    assert code == 1
    assert report["outcomes"][0]["problems"] == ["process 77 outlived the run"]


def test_a_sandbox_that_does_not_start_is_an_outcome(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> State:
        raise lifecycle.LifecycleError("port 1 is taken")

    monkeypatch.setattr(lifecycle, "wait_ready", refuse)
    _, report = run(tmp_path, seeds=1)
    assert report["outcomes"][0]["problems"] == ["LifecycleError: port 1 is taken"]
    assert world.events[-1] == "stop"


def test_the_summary_has_a_line_a_seed() -> None:
    killed = Injected("", 1.0, "kill", {"process": "job"}, {})
    outcome = campaign.Outcome(3, [], [killed], trades=1234, seconds={"a": 2.0})
    console = Console(width=120)
    with console.capture() as capture:
        console.print(campaign.summary([outcome]))
    assert "job" in capture.get()
    assert "1,234" in capture.get()


def test_a_script_for_every_seed() -> None:
    script = Plan().script_of(1)
    assert Plan(script=script).script_of(5) == script
    assert {each.what for each in Plan(kill="gcs").script_of(5).injections} == {"kill"}
