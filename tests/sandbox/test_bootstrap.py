import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from sandbox import bootstrap
from sandbox.bootstrap import Environment, SetupError

Usage = namedtuple("Usage", "total used free")


def fake_python(folder: Path, *, version: str = "3 11", has_venv: bool = True) -> Path:
    """An interpreter that answers the two questions that set-up asks."""
    path = folder / "python"
    path.parent.mkdir(parents=True, exist_ok=True)
    imports = 0 if has_venv else 1
    path.write_text(
        f'#!/bin/sh\ncase "$2" in *version_info*) echo {version};; *ensurepip*) exit {imports};; '
        "esac\n"
    )
    path.chmod(0o755)
    return path


class Commands:
    """Records command lines instead of running them; makes what `venv` would make."""

    def __init__(self, failing: str = "nothing fails") -> None:
        self.lines: list[str] = []
        self._failing = failing

    def __call__(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        line = " ".join(command)
        if command[1] == "-c":
            return REAL_RUN(command, **options)  # type: ignore[call-overload,no-any-return]
        self.lines.append(line)
        if "-m venv" in line:
            fake_python(Path(command[-1]) / "bin")
        if "pip install --quiet" in line and self._failing not in line:
            (Path(command[0]).parent / "uv").touch()
        return subprocess.CompletedProcess(command, int(self._failing in line), stdout="uv 0.13.9")


REAL_RUN = subprocess.run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements.txt").write_text("a==1\n    # via\nb==2\n")
    (tmp_path / "requirements" / "emulators.txt").write_text("c==3\n")
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, commands: Commands) -> Commands:
    monkeypatch.setattr(subprocess, "run", commands)
    return commands


def test_set_up_makes_both_environments_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = str(fake_python(root / "system"))
    commands = use(monkeypatch, Commands())
    bootstrap.set_up(root, {"PYTHON": python})
    uv = f"{root}/.venv/bin/uv"
    assert commands.lines == [
        f"{python} -m venv --clear {root}/.venv",
        f"{root}/.venv/bin/python -m pip install --quiet --disable-pip-version-check "
        + bootstrap.UV,
        f"{uv} pip install --python {root}/.venv/bin/python -r {root}/requirements.txt",
        f"{python} -m venv --clear {root}/.sandbox/emulators",
        f"{uv} --version",
        f"{uv} pip install --python {root}/.sandbox/emulators/bin/python "
        f"-r {root}/requirements/emulators.txt",
    ]
    assert "installing 2 packages of requirements.txt" in capsys.readouterr().out
    commands.lines.clear()
    bootstrap.set_up(root, {"PYTHON": python})
    assert commands.lines == []


def test_changed_requirements_are_installed_into_the_same_environment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = str(fake_python(root / "system"))
    commands = use(monkeypatch, Commands())
    bootstrap.set_up(root, {"PYTHON": python})
    commands.lines.clear()
    (root / "requirements.txt").write_text("a==2\n")
    bootstrap.set_up(root, {"PYTHON": python})
    assert [line for line in commands.lines if "venv --clear" in line] == []
    assert len([line for line in commands.lines if "pip install --python" in line]) == 1


def test_pip_installs_where_uv_cannot_be_had(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = str(fake_python(root / "system"))
    commands = use(monkeypatch, Commands(failing="uv=="))
    bootstrap.set_up(root, {"PYTHON": python})
    installs = [line for line in commands.lines if "-r " in line]
    assert installs == [
        f"{root}/.venv/bin/python -m pip install --progress-bar on -r {root}/requirements.txt",
        f"{root}/.sandbox/emulators/bin/python -m pip install --progress-bar on "
        f"-r {root}/requirements/emulators.txt",
    ]


def test_a_failed_installation_is_not_taken_for_done(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = str(fake_python(root / "system"))
    use(monkeypatch, Commands(failing="-r "))
    with pytest.raises(SetupError, match=r"(?s)exit code 1 from.*run `make setup` again"):
        bootstrap.set_up(root, {"PYTHON": python})
    assert not Environment(root / ".venv", root / "requirements.txt").is_current()


def test_a_moved_environment_is_made_anew(root: Path) -> None:
    here = Environment(root / ".venv", root / "requirements.txt")
    there = Environment(root / "moved" / ".venv", root / "requirements.txt")
    assert here.fingerprint() != there.fingerprint()


def test_the_wrong_python_is_named(root: Path) -> None:
    python = fake_python(root / "system", version="3 9")
    with pytest.raises(SetupError) as caught:
        bootstrap.find_python({"PYTHON": str(python)})
    assert f"Python 3.11 is needed ({python}: 3.9)" in str(caught.value)
    assert "apt-get install python3.11 python3.11-venv" in str(caught.value)
    with pytest.raises(SetupError, match="/no/such/python: not found"):
        bootstrap.find_python({"PYTHON": "/no/such/python"})


@pytest.mark.integration
def test_a_fitting_python_is_found() -> None:
    assert bootstrap.version_of(bootstrap.find_python({})) == (3, 11)
    assert bootstrap.version_of(sys.executable) == sys.version_info[:2]


def test_a_missing_venv_module_is_named_with_its_package(root: Path) -> None:
    python = fake_python(root / "system", has_venv=False)
    with pytest.raises(SetupError, match=r"apt-get install python3\.11-venv"):
        bootstrap.check_modules(str(python))


def test_too_little_disk_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 500_000_000))
    with pytest.raises(SetupError, match=r"has 0\.5 GB free and needs about 3 GB"):
        bootstrap.check_disk(root)


def test_missing_requirements_are_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"requirements\.txt: No such file.*make lock"):
        bootstrap.set_up(tmp_path, {"PYTHON": str(fake_python(tmp_path / "system"))})


def test_main_turns_errors_into_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHON", str(fake_python(tmp_path / "system")))
    assert bootstrap.main() == 1
    assert "setup: " in capsys.readouterr().err
