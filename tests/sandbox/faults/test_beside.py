import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.faults import beside
from sandbox.faults.beside import Faults
from sandbox.faults.report import holes_table, open_holes
from sandbox.faults.run import INJECTIONS_FILE
from sandbox.settings import Settings

LINE = {"at": "", "seconds": 1.0, "what": "cut", "parameters": {}, "result": {}, "error": ""}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    answers: dict[str, Any] = {"status": "ok"}
    monkeypatch.setattr(beside, "get", lambda _: (200, json.dumps(answers).encode()))
    return answers


def test_injections_and_holes_are_told_once(tmp_path: Path, answers: dict[str, Any]) -> None:
    told: list[str] = []
    faults = Faults(Settings(home=tmp_path), tmp_path / "script.yaml", told.append)
    faults.look()
    assert told == []
    with (tmp_path / INJECTIONS_FILE).open("w") as file:
        file.write(json.dumps(LINE) + "\n")
    answers["holes"] = {"open": 2, "ids": 7, "first": [1]}
    faults.look()
    faults.look()
    assert told == ["fault    1.0 s  cut", "      holes: open 2, ids 7"]
    answers["holes"] = {"open": 0, "ids": 0}
    faults.look()
    assert told[2:] == ["      holes: open 0, ids 0"]
    assert [each["what"] for each in faults.injections] == ["cut"]


def test_a_collector_that_is_dead_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> tuple[int, bytes]:
        raise ConnectionRefusedError(url)

    monkeypatch.setattr(beside, "get", refuse)
    told: list[str] = []
    Faults(Settings(home=tmp_path), tmp_path / "script.yaml", told.append).look()
    assert told == []


def test_the_script_runs_beside_and_ends_with_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def spawn(command: tuple[str, ...], **options: Any) -> str:
        seen.update(options, command=command)
        return "process"

    monkeypatch.setattr(beside, "spawn", spawn)
    monkeypatch.setattr(beside, "stop", lambda process, _: seen.update(stopped=process))
    (tmp_path / "logs").mkdir()
    (tmp_path / INJECTIONS_FILE).write_text("of an earlier run\n")
    faults = Faults(Settings(home=tmp_path, run_up=9), tmp_path / "s.yaml", lambda _: None)
    faults.start("r")
    assert seen["command"] == (
        *(sys.executable, "-m", "sandbox", "faults", str(tmp_path / "s.yaml")),
        *("--home", str(tmp_path), "--wait", "9"),
    )
    assert seen["run_id"] == "r"
    assert faults.injections == []
    faults.close()
    faults.close()
    assert seen["stopped"] == "process"


def test_holes_for_people() -> None:
    healed = {
        **{"symbol": "BTCUSDT", "channel": "trade", "missing": "3", "cause": "disconnect"},
        **{"first_missing_id": "5", "last_missing_id": "7", "outcome": "healed"},
        **{"source": "rest", "found_us": "1000000", "closed_us": "2500000"},
    }
    failed = {**healed, "outcome": "failed", "closed_us": None}
    assert open_holes([healed, failed]) == [failed]
    table = holes_table([healed, failed])
    assert table.title == "holes in the ids, as ops.holes has them: 2 ranges, 6 ids, 1 open"
    assert [*table.columns[6].cells] == ["still", "1.5 s"]
