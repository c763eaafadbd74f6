"""Starting, finding and ending a sandbox from outside: what `up`, `down` and `demo` share.

The sandbox itself is the supervisor's process (`sandbox.daemon`); these functions start it, read
its state and send it signals.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Final

import psutil

from sandbox.daemon import LOGS_FOLDER
from sandbox.process import end_members
from sandbox.services import DATA_FOLDERS
from sandbox.settings import ROOT, Settings
from sandbox.state import FAILED, READY, STOPPED, State, is_supervised, read_state

_POLL_SECONDS: Final = 0.1
START_LIMIT_SECONDS: Final = 300.0  # above every service's own deadline, which names the culprit
STOP_LIMIT_SECONDS: Final = 90.0  # above the sum of the graces


class LifecycleError(Exception):
    """The sandbox did not start or end; the message names the reason."""


def start(settings: Settings, *, owner: int | None) -> str:
    """Start the supervisor's process and return the id of the run; does not wait for health.

    Args:
        settings: of the run.
        owner: process with which everything ends, None for none.

    Raises:
        LifecycleError: a sandbox runs in this home already.
    """
    _refuse_a_running_one(settings)
    logs = settings.home / LOGS_FOLDER
    logs.mkdir(parents=True, exist_ok=True)
    run_id = uuid.uuid4().hex
    command = [
        *(sys.executable, "-m", "sandbox", "supervise", "--run", run_id),
        *("--settings", json.dumps(settings.document)),
        *(("--owner", str(owner)) if owner is not None else ()),
    ]
    with (logs / "supervisor.log").open("wb") as log:
        subprocess.Popen(  # noqa: S603 - our own command line
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return run_id


def _refuse_a_running_one(settings: Settings) -> None:
    if is_supervised(settings.home):
        raise LifecycleError(
            f"a sandbox is running in {settings.home}; end it with `python -m sandbox down`, "
            "or choose another SANDBOX_HOME (with --ports auto)"
        )


def wait_ready(
    settings: Settings, run_id: str, notice: Callable[[State], None] = lambda state: None
) -> State:
    """Wait until a run is ready, telling `notice` each state on the way.

    Raises:
        LifecycleError: it failed or was stopped; the message has the service's reason.
    """
    deadline = time.monotonic() + START_LIMIT_SECONDS
    seen_alive = False
    while time.monotonic() < deadline:
        state, alive = read_state(settings.home), is_supervised(settings.home)
        if state is not None and state.run_id == run_id:
            seen_alive = seen_alive or alive
            notice(state)
            if state.phase == READY and alive:
                return state
            if state.phase in (FAILED, STOPPED) and not alive:
                raise LifecycleError(state.error or "the sandbox was stopped while it started")
            if seen_alive and not alive:
                break
        time.sleep(_POLL_SECONDS)
    log = settings.home / LOGS_FOLDER / "supervisor.log"
    raise LifecycleError(f"the supervisor did not get ready; its log is {log}")


def find(settings: Settings) -> State | None:
    """Return the state of the sandbox that runs in this home, None when none does."""
    return read_state(settings.home) if is_supervised(settings.home) else None


def stop(settings: Settings) -> bool:
    """End the sandbox of a home and everything it left behind; True when there was one.

    Raises:
        LifecycleError: a process of it could not be ended.
    """
    state, running = read_state(settings.home), is_supervised(settings.home)
    if running and state is not None:
        _end_supervisor(settings, state.pid)
    left = end_members(state.run_id) if state is not None else []
    if left:
        raise LifecycleError(f"processes of the sandbox that did not end: {left}")
    return running


def _end_supervisor(settings: Settings, pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT_SECONDS
    while is_supervised(settings.home) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    with contextlib.suppress(psutil.NoSuchProcess):
        if is_supervised(settings.home):
            os.kill(pid, signal.SIGKILL)
            psutil.Process(pid).wait(timeout=STOP_LIMIT_SECONDS)


def remove_data(settings: Settings) -> None:
    """Remove the data of earlier runs; nothing may run.

    Raises:
        LifecycleError: a sandbox runs in this home.
    """
    _refuse_a_running_one(settings)
    for folder in DATA_FOLDERS:
        if (settings.home / folder).exists():
            shutil.rmtree(settings.home / folder)
