import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.process import end_members, is_alive, members, resident_bytes, spawn, stop
from sandbox.settings import ROOT

pytestmark = pytest.mark.integration


@pytest.fixture
def run_id(tmp_path: Path) -> str:
    return f"test-{tmp_path}"


def wait_gone(run_id: str) -> None:
    deadline = time.monotonic() + 10
    while members(run_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(run_id: str, *command: str) -> subprocess.Popen[bytes]:
    return spawn(
        command,
        run_id=run_id,
        environment=dict(os.environ),
        directory=ROOT,
        output=subprocess.DEVNULL,
    )


def test_a_child_leads_a_session_and_carries_the_mark(run_id: str) -> None:
    child = start(run_id, "sleep", "600")
    assert os.getsid(child.pid) == child.pid
    assert [process.pid for process in members(run_id)] == [child.pid]
    assert resident_bytes([child.pid])[child.pid] > 0
    assert stop(child, 5) is True
    assert members(run_id) == []


def test_members_end_wherever_they_are(run_id: str) -> None:
    child = start(run_id, "sh", "-c", "setsid sleep 600 & sleep 600")
    deadline = time.monotonic() + 10
    while len(members(run_id)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert end_members(run_id) == []
    child.wait()


def test_the_kernel_ends_a_child_whose_parent_is_killed(run_id: str) -> None:
    parent_code = (
        "import os, subprocess, sys, time; from pathlib import Path;"
        "from sandbox.process import spawn;"
        "spawn(['sleep', '600'], run_id=sys.argv[1], environment=dict(os.environ),"
        "      directory=Path('/'), output=subprocess.DEVNULL);"
        "print('started', flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code, run_id], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    assert len(members(run_id)) == 1
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_gone(run_id)


def test_the_reaper_ends_what_is_left_when_its_lifeline_does(run_id: str) -> None:
    child = start(run_id, "sleep", "600")
    reaper = subprocess.Popen(
        [sys.executable, "-m", "sandbox.reaper", run_id], cwd=ROOT, stdin=subprocess.PIPE
    )
    assert reaper.stdin is not None
    reaper.stdin.close()
    assert reaper.wait(20) == 0
    assert child.wait(5) == -9


def test_a_missing_command_ends_with_127(run_id: str) -> None:
    assert start(run_id, "/no/such/command").wait(10) == 127


def test_a_zombie_is_not_alive() -> None:
    import psutil

    child = subprocess.Popen(["true"])
    process = psutil.Process(child.pid)
    deadline = time.monotonic() + 10
    while is_alive(process):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.wait()
    assert not is_alive(process)
