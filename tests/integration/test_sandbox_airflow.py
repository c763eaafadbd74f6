"""`up` with Airflow, as a user types it: healthy, every DAG there, nothing left after `down`."""

import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sandbox.airflow.dags import dag_files
from sandbox.airflow.environment import password_file, read_password
from sandbox.airflow.rest import Airflow, health_probe
from sandbox.process import end_members, members
from sandbox.settings import ROOT, Settings
from sandbox.state import READY, State, read_state

EMULATORS = Path(os.environ.get("SANDBOX_EMULATORS", Settings().emulators))

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (EMULATORS / "bin" / "python").exists(),
        reason=f"no emulators in {EMULATORS}; `make setup` installs them",
    ),
]


def sandbox(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", arguments[0], "--home", str(home), *arguments[1:]],
        cwd=ROOT,
        env={**os.environ, "SANDBOX_EMULATORS": str(EMULATORS)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


def listeners(state: State) -> set[str]:
    """Return the addresses that the run's processes listen on."""
    found = set()
    for process in members(state.run_id):
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(connection.laddr.ip.removeprefix("::ffff:"))  # IPv4 in IPv6
    return found


def test_up_with_airflow_and_down(tmp_path: Path) -> None:
    light = ("--ports", "auto", "--rate", "10", "--market-size", "2", "--pubsub", "embedded")
    started = sandbox(tmp_path, "up", *light)
    state = read_state(tmp_path)
    assert state is not None
    try:
        assert started.returncode == 0, started.stderr
        settings = Settings.from_document(state.settings)
        assert started.stdout.count(read_password(settings)) == 1, "the password, once"
        assert stat.S_IMODE(password_file(settings).stat().st_mode) == 0o600
        again = sandbox(tmp_path, "up").stdout
        assert settings.airflow_url in again
        assert read_password(settings) not in again

        assert health_probe(settings.airflow_url)() is None
        airflow = Airflow(settings.airflow_url, lambda: read_password(settings))
        assert airflow.import_errors() == {}
        assert airflow.dags() == dict.fromkeys(dag_files(), False), "all there, none paused"

        services = {each.name: each for each in state.services}
        assert (services["airflow"].phase, services["airflow"].restarts) == (READY, 0)
        assert listeners(state) == {"127.0.0.1"}
        titles = [" ".join(process.cmdline()) for process in members(state.run_id)]
        assert any("api_server" in title for title in titles), "a renamed process lost its mark"
    finally:
        down = sandbox(tmp_path, "down")
        left = [" ".join(process.cmdline()) for process in members(state.run_id)]
        end_members(state.run_id)
    assert (down.returncode, down.stdout) == (0, "stopped\n")
    assert left == []
