"""The supervisor's process, killed, orphaned and signalled, with fake services."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sandbox import lifecycle
from sandbox.process import end_members, members
from sandbox.settings import ROOT, Ports, Settings
from sandbox.state import READY, STOPPED, is_supervised, read_state

pytestmark = pytest.mark.integration

# A daemon whose one service has a grandchild in a session of its own.
DAEMON = """
import json, os, sys, socket
from sandbox.daemon import supervise
from sandbox.settings import Settings
from sandbox.supervisor import Port, Service

LISTEN = '''
import socket, subprocess, sys
subprocess.Popen(["sleep", "600"], start_new_session=True)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        server.accept()[0].close()
'''

def probe(port):
    def connect():
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError as error:
            return str(error)
    return connect

def build(settings, environment):
    port = settings.ports.gcs
    command = (sys.executable, "-I", "-S", "-c", LISTEN, str(port))
    return [Service("fake", command, environment=environment, probe=probe(port),
                    ports=(Port(port, "SANDBOX_GCS_PORT"),))]

settings = Settings.from_document(json.loads(sys.argv[1]))
owner = int(sys.argv[3]) if len(sys.argv) > 3 else None
sys.exit(supervise(settings, sys.argv[2], owner, build))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, ports=Ports.free())


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def run_id(tmp_path: Path) -> str:
    return f"test-{tmp_path}"


@pytest.fixture
def start(settings: Settings, run_id: str) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def factory(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", DAEMON, json.dumps(settings.document), run_id]
        with (settings.home / "daemon.log").open("ab") as log:
            daemon = subprocess.Popen(
                [*command, *arguments], cwd=ROOT, start_new_session=True, stderr=log
            )
        started.append(daemon)
        return daemon

    yield factory
    for daemon in started:
        daemon.kill()
        daemon.wait()
    assert end_members(run_id) == []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm_stops_everything_in_order(start: Start, settings: Settings, run_id: str) -> None:
    daemon = start()
    state = lifecycle.wait_ready(settings, run_id)
    assert state.ready_seconds is not None
    assert state.pid == daemon.pid
    assert Settings.from_document(state.settings) == settings
    assert len(members(run_id)) == 2
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(20) == 0
    assert members(run_id) == []
    last = read_state(settings.home)
    assert last is not None
    assert last.phase == STOPPED


def test_killing_the_supervisor_leaves_nothing(
    start: Start, settings: Settings, run_id: str
) -> None:
    daemon = start()
    lifecycle.wait_ready(settings, run_id)
    daemon.kill()
    daemon.wait()
    wait_until(lambda: not members(run_id))
    assert not is_supervised(settings.home)
    assert lifecycle.find(settings) is None
    assert lifecycle.stop(settings) is False


def test_the_end_of_the_owner_is_the_end_of_all(
    start: Start, settings: Settings, run_id: str
) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    try:
        daemon = start(str(owner.pid))
        lifecycle.wait_ready(settings, run_id)
    finally:
        owner.kill()
        owner.wait()
    assert daemon.wait(20) == 0
    assert members(run_id) == []


def test_a_second_supervisor_is_refused(start: Start, settings: Settings, run_id: str) -> None:
    start()
    lifecycle.wait_ready(settings, run_id)
    assert start().wait(20) == 1
    assert read_state(settings.home).phase == READY  # type: ignore[union-attr]
    with pytest.raises(lifecycle.LifecycleError, match="a sandbox is running in"):
        lifecycle.start(settings, owner=None)
    with pytest.raises(lifecycle.LifecycleError, match="a sandbox is running in"):
        lifecycle.remove_data(settings)


def test_a_failed_start_is_reported_and_leaves_nothing(
    start: Start, settings: Settings, run_id: str
) -> None:
    with socket.create_server(("127.0.0.1", settings.ports.gcs)):
        daemon = start()
        with pytest.raises(lifecycle.LifecycleError, match="SANDBOX_GCS_PORT"):
            lifecycle.wait_ready(settings, run_id)
        assert daemon.wait(20) == 1
    assert members(run_id) == []


def test_stop_twice(start: Start, settings: Settings, run_id: str) -> None:
    daemon = start()
    lifecycle.wait_ready(settings, run_id)
    assert lifecycle.stop(settings) is True
    daemon.wait(20)
    assert lifecycle.stop(settings) is False


def test_a_crash_is_visible_in_the_state(start: Start, settings: Settings, run_id: str) -> None:
    start()
    state = lifecycle.wait_ready(settings, run_id)
    pid = state.services[0].pid
    assert pid is not None
    psutil.Process(pid).kill()
    # The grandchild of the crashed service may live on until the end of the run.
    wait_until(lambda: read_state(settings.home).services[0].restarts == 1)  # type: ignore[union-attr]
    wait_until(lambda: read_state(settings.home).services[0].phase == READY)  # type: ignore[union-attr]


def test_no_environment_of_one_service_leaks_into_the_others() -> None:
    from sandbox.daemon import user_environment

    os.environ["BINANCE_SYMBOLS"] = "X"
    try:
        assert "BINANCE_SYMBOLS" not in user_environment()
    finally:
        del os.environ["BINANCE_SYMBOLS"]
