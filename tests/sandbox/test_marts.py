"""Building the marts, with a program that stands in for dbt."""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.marts import Marts
from sandbox.process import members
from sandbox.settings import Settings, platform_of

pytestmark = pytest.mark.integration

DBT = """#!{python}
import json, os, sys, time
names = ("BIGQUERY_EMULATOR_HOST", "DBT_TARGET", "DBT_TARGET_PATH")
print(json.dumps({{"arguments": sys.argv[1:], **{{name: os.environ[name] for name in names}}}}))
sys.stdout.flush()
time.sleep({seconds})
sys.exit({code})
"""


@pytest.fixture
def run_id(tmp_path: Path) -> str:
    return f"test-{tmp_path}"


def marts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, seconds: float = 0, code: int = 0
) -> Marts:
    dbt = tmp_path / "bin" / "dbt"
    dbt.parent.mkdir()
    dbt.write_text(DBT.format(python=sys.executable, seconds=seconds, code=code))
    dbt.chmod(0o755)
    (tmp_path / "logs").mkdir()
    settings = Settings(home=tmp_path)
    platform = platform_of(
        settings, started_at=datetime(2026, 1, 1, tzinfo=UTC), ready_seconds=1, peak_memory=dict
    )
    built = Marts(settings, platform, f"test-{tmp_path}")
    monkeypatch.setattr("sandbox.marts.DBT", dbt)
    return built


def wait(built: Marts) -> bool:
    deadline = time.monotonic() + 20

    def meanwhile() -> None:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    return built.wait(meanwhile)


def test_dbt_is_told_where_everything_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = marts(tmp_path, monkeypatch)
    assert not built.is_running
    built.start("build")
    assert wait(built) is True
    assert built.runs == 1
    told = json.loads(built.log.read_text())
    assert told["arguments"][1] == "build"
    assert told["arguments"][-2:] == ["--exclude-resource-type", "unit_test"]
    assert told["BIGQUERY_EMULATOR_HOST"] == "http://127.0.0.1:9050"
    assert told["DBT_TARGET"] == "local"
    assert told["DBT_TARGET_PATH"] == str(tmp_path / "dbt" / "target")


def test_a_failed_build_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = marts(tmp_path, monkeypatch, code=1)
    built.start("run")
    assert wait(built) is False


def test_one_build_at_a_time_and_none_after_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_id: str
) -> None:
    built = marts(tmp_path, monkeypatch, seconds=600)
    built.start("run")
    built.start("run")
    assert built.is_running
    assert len(members(run_id)) == 1
    built.close()
    assert members(run_id) == []
    assert built.peak_resident_bytes > 0
