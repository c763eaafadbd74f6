import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import cli, lifecycle
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


def test_a_run_up_must_fit(home: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", home, "--minutes", "1", "--run-up", "60"]) == 2
    assert "--run-up: 60 s do not fit into 60 s" in capsys.readouterr().err
    assert cli.main(["demo", home, "--speed", "2", "--run-up", "60"]) == 2
    assert "SANDBOX_RUN_UP" in capsys.readouterr().err
