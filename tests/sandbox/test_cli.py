import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox import cli, lifecycle
from sandbox.chaos.plan import Plan
from sandbox.settings import NAMES, ROOT, Settings
from sandbox.state import READY, STARTING, ServiceStatus, State


def service(name: str = "gcs", phase: str = READY) -> ServiceStatus:
    return ServiceStatus(name, phase, 7, 2, -9, 5 << 20, 9 << 20, "/log", "http://h:1", "a note")


def state(settings: Settings, phase: str = READY) -> State:
    return State(
        run_id="r",
        pid=1,
        phase=phase,
        started_at="2026-01-01T00:00:00+00:00",
        ready_seconds=1.25,
        settings=settings.document,
        services=(service(),),
    )


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> str:
    return f"--home={tmp_path}"


def test_flags_win_over_variables(tmp_path: Path) -> None:
    options = cli._parser().parse_args(["up", "--rate", "5", "--gcs-port", "24443"])
    settings = cli.settings_of(options, {"SANDBOX_RATE": "9", "SANDBOX_SEED": "3"})
    assert (settings.rate, settings.seed, settings.ports.gcs) == (5, 3, 24443)


def test_wrong_settings_and_files_end_with_2(
    home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["up", home, "--rate", "none"]) == 2
    assert "SANDBOX_RATE: expected a whole number" in capsys.readouterr().err
    (tmp_path / "empty").touch()
    missing = ["replay", home, str(tmp_path / "no"), str(tmp_path / "empty"), str(tmp_path)]
    assert cli.main(missing) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/no: No such file or directory",
        f"{tmp_path}/empty: the file is empty",
        f"{tmp_path}: Is a directory",
    ]
    assert cli.main(["demo", home, "--exchange", "recording"]) == 2
    assert "use `replay FILE…`" in capsys.readouterr().err


def test_wrong_flags_end_with_2(home: str) -> None:
    for arguments in (["fly"], [], ["demo", "--minutes", "0"], ["demo", "--minutes", "x"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2


def test_replay_takes_recordings_and_klines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, klines = tmp_path / "a.gz", tmp_path / "k.csv"
    for path in (recording, klines):
        path.write_text("x")
    seen: dict[str, object] = {}

    def run_demo(settings: Settings, **options: object) -> int:
        seen.update(options, settings=settings)
        return 0

    monkeypatch.setattr("sandbox.demo.run_demo", run_demo)
    arguments = ["replay", str(recording), f"--home={tmp_path}", "--klines", str(klines), "--exit"]
    assert cli.main(arguments) == 0
    settings = seen["settings"]
    assert isinstance(settings, Settings)
    assert settings.exchange == "recording"
    assert settings.recordings == (recording,)
    assert settings.airflow == "off"
    assert seen["reference_klines"] == (klines,)
    assert (seen["seconds"], seen["fresh"], seen["leave"]) == (None, True, True)


def test_up_finds_a_running_sandbox(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = state(Settings(airflow="off"))
    monkeypatch.setattr(lifecycle, "find", lambda _: running)
    monkeypatch.setattr(lifecycle, "wait_ready", lambda *_: running)
    assert cli.main(["up", home]) == 0
    text = capsys.readouterr().out
    assert text.startswith("already running")
    assert "PUBSUB_EMULATOR_HOST=127.0.0.1:8085" in text


def test_up_starts_with_the_terminal_as_owner(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owners: list[int | None] = []

    class Shell:
        pid = 42

    def start(settings: Settings, *, owner: int | None) -> str:
        owners.append(owner)
        return "r"

    monkeypatch.setattr(lifecycle, "find", lambda _: None)
    monkeypatch.setattr(lifecycle, "start", start)
    monkeypatch.setattr(lifecycle, "wait_ready", lambda settings, *_: state(settings))
    monkeypatch.setattr(cli, "controlling_owner", Shell)
    assert cli.main(["up", home, "--no-airflow"]) == 0
    assert cli.main(["up", home, "--no-airflow", "--detach"]) == 0
    assert owners == [42, None]
    assert "ready after 1.2 s" in capsys.readouterr().out


def test_a_failed_start_ends_with_1(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(settings: Settings, *, owner: int | None) -> str:
        raise lifecycle.LifecycleError("port 1 is taken")

    monkeypatch.setattr(lifecycle, "start", start)
    assert cli.main(["up", home]) == 1
    assert capsys.readouterr().err == "port 1 is taken\n"


def test_status(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", home]) == 1
    assert capsys.readouterr().out == "not running\n"
    monkeypatch.setattr(lifecycle, "find", lambda settings: state(settings))
    assert cli.main(["status", home]) == 0
    assert "gcs         ready              7         2      5      9  http" in (
        capsys.readouterr().out
    )
    monkeypatch.setattr(lifecycle, "find", lambda settings: state(settings, STARTING))
    assert cli.main(["status", home]) == 1


def test_env_of_nothing_running_shows_the_settings(
    home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(
            [
                "env",
                home,
            ]
        )
        == 0
    )
    assert "export STORAGE_EMULATOR_HOST=http://127.0.0.1:4443" in capsys.readouterr().out


def test_down_twice(home: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["down", home]) == 0
    assert cli.main(["down", home]) == 0
    assert capsys.readouterr().out == "nothing is running\n" * 2


def test_progress_prints_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = cli.StartProgress()
    for _ in range(2):
        progress(state(Settings()))
    assert capsys.readouterr().out.count("gcs") == 1


@pytest.mark.integration
def test_it_runs_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "sandbox", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0
    assert "up,down,status,env,demo,replay" in run.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "environment", "run_up"),
    [
        (["demo"], {}, 90),
        (["demo", "--minutes", "2"], {}, 0),
        (["demo", "--run-up", "30"], {}, 30),
        (["demo", "--run-up", "30"], {"SANDBOX_RUN_UP": "60"}, 30),
        (["demo"], {"SANDBOX_RUN_UP": "60"}, 60),
        (["demo", "--speed", "10"], {}, 0),
        (["demo"], {"SANDBOX_SPEED": "10"}, 0),
        (["demo", "--exchange", "live"], {}, 0),
        (["demo"], {"SANDBOX_EXCHANGE": "live"}, 0),
        (["up"], {}, 0),
    ],
)
def test_a_demo_runs_up_through_the_day_before(
    arguments: list[str], environment: dict[str, str], run_up: int
) -> None:
    assert cli.settings_of(cli._parser().parse_args(arguments), environment).run_up == run_up


SCRIPT = "faults: [{at: 5, what: cut, seconds: 4}]"


def seen_by_demo(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    seen: dict[str, object] = {}

    def run_demo(settings: Settings, **options: object) -> int:
        seen.update(options, settings=settings)
        return 0

    monkeypatch.setattr("sandbox.demo.run_demo", run_demo)
    return seen


def test_a_demo_with_faults(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_by_demo(monkeypatch)
    assert cli.main(["demo", home]) == 0
    assert seen["faults"] is None
    assert cli.main(["demo", home, "--faults"]) == 0
    assert seen["faults"] == cli.DEMO_FAULTS
    settings = seen["settings"]
    assert isinstance(settings, Settings)
    assert (settings.pubsub, settings.run_up) == ("embedded", 0)
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT)
    assert cli.main(["demo", home, "--faults", str(script), "--run-up", "30"]) == 0
    assert seen["faults"] == script


@pytest.mark.parametrize(
    ("text", "flags", "mistake"),
    [
        ("faults: [{at: 5, what: cutt}]", [], "did you mean cut?"),
        (SCRIPT, ["--minutes", "0.1"], "lasts 9 s and the demo 6 s; give more --minutes"),
        ("faults: [{at: 5, what: broker_lost_ack}]", ["--pubsub", "google"], "--pubsub embedded"),
        (SCRIPT, ["--exchange", "live"], "only the simulated one lets happen, was 'live'"),
    ],
)
def test_faults_that_do_not_fit_end_with_2(
    home: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    flags: list[str],
    mistake: str,
) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(text)
    assert cli.main(["demo", home, "--faults", str(script), *flags]) == 2
    assert mistake in capsys.readouterr().err


def test_faults_of_a_running_sandbox(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("faults: [{at: 0, what: kill, process: job}]")
    assert cli.main(["faults", home, str(tmp_path / "none")]) == 2
    assert cli.main(["faults", home, str(script)]) == 1
    assert "not running" in capsys.readouterr().err
    monkeypatch.setattr(lifecycle, "find", lambda settings: state(settings))
    assert cli.main(["faults", home, str(script)]) == 1
    assert "job: no such process runs" in capsys.readouterr().out


def test_a_campaign_is_planned(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans: list[object] = []

    def run_campaign(settings: Settings, plan: object, output: Path | None) -> int:
        plans.append(plan)
        return 1

    monkeypatch.setattr("sandbox.chaos.campaign.run_campaign", run_campaign)
    arguments = ["chaos", home, "--seeds", "3", "--first", "7", "--kill", "job", "--rate", "50"]
    assert cli.main(arguments) == 1
    expected = Plan(first=7, seeds=3, kill="job", rate=50, home=tmp_path / "chaos")
    assert plans == [expected]
    script = tmp_path / "script.yaml"
    script.write_text("seed: x")
    assert cli.main(["chaos", home, "--script", str(script)]) == 2
    for wrong in (["--seeds", "0"], ["--kill", "exchange"], ["--seconds", "3"]):
        with pytest.raises(SystemExit):
            cli.main(["chaos", home, *wrong])


def test_verify_since_a_minute() -> None:
    options = cli._parser().parse_args(["verify", "--since", "2026-01-31T12:00:30"])
    assert options.since == datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["verify", "--since", "noon"])


def test_a_run_up_must_fit(home: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", home, "--minutes", "1", "--run-up", "60"]) == 2
    assert "--run-up: 60 s do not fit into 60 s" in capsys.readouterr().err
    assert cli.main(["demo", home, "--speed", "2", "--run-up", "60"]) == 2
    assert "SANDBOX_RUN_UP" in capsys.readouterr().err
