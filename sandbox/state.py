"""What is known about a running sandbox: `.sandbox/state.json`, and the lock of its one supervisor.

The supervisor writes the state (a complete file at a time, by renaming); `up`, `status`, `down`,
`env` and the demo read it. Whether a supervisor lives is told by its lock, which the kernel frees
at its death, never by the state file, which a killed supervisor leaves behind.
"""

from __future__ import annotations

import fcntl
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

STATE_FILE: Final = "state.json"
LOCK_FILE: Final = "lock"

STARTING: Final = "starting"
READY: Final = "ready"
DEGRADED: Final = "degraded"
STOPPING: Final = "stopping"
STOPPED: Final = "stopped"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service as the supervisor sees it.

    Attributes:
        name: the service's name.
        phase: waiting, starting, ready, done (a step that ran once), restarting, stopped, failed.
        pid: process id while it runs.
        restarts: how often it was restarted after a crash.
        exit_code: the last end's exit code, negative for a signal, None before the first end.
        resident_bytes: memory now, descendants included.
        peak_resident_bytes: highest memory seen, descendants included.
        log: path of its log.
        address: where it is reached, empty for a step.
        note: why it is not ready, empty when it is.
    """

    name: str
    phase: str
    pid: int | None
    restarts: int
    exit_code: int | None
    resident_bytes: int
    peak_resident_bytes: int
    log: str
    address: str
    note: str


@dataclass(frozen=True, slots=True)
class State:
    """The whole sandbox.

    Attributes:
        run_id: mark in the environment of all its processes.
        pid: the supervisor's process id.
        phase: starting, ready, degraded (a service is being restarted), stopping, stopped, failed.
        started_at: start of the supervisor, ISO 8601 in UTC.
        ready_seconds: seconds from start until all services were ready, None before.
        peak_resident_bytes: highest sum of memory over all services and the supervisor.
        error: why the sandbox failed, for people; empty otherwise.
        settings: the run's settings, as `sandbox.settings.Settings.document` has them.
        services: the services in start order.
    """

    run_id: str
    pid: int
    phase: str
    started_at: str
    ready_seconds: float | None = None
    peak_resident_bytes: int = 0
    error: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    services: tuple[ServiceStatus, ...] = ()


def write_state(home: Path, state: State) -> None:
    """Replace the state file."""
    path = home / STATE_FILE
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(asdict(state), indent=2) + "\n", "utf-8")
    unfinished.replace(path)


def read_state(home: Path) -> State | None:
    """Return the last state, None when there is none or an older version wrote it."""
    try:
        document = json.loads((home / STATE_FILE).read_text("utf-8"))
        services = tuple(ServiceStatus(**service) for service in document.pop("services"))
        return State(**document, services=services)
    except (OSError, ValueError, TypeError, KeyError):
        return None


class SupervisorLock:
    """The right to supervise a home; held as long as the process lives, by one at a time."""

    def __init__(self, home: Path) -> None:
        self._file = (home / LOCK_FILE).open("a")

    def acquire(self) -> bool:
        """Take the lock; False when another process has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def is_supervised(home: Path) -> bool:
    """Tell whether a supervisor of this home lives."""
    if not (home / LOCK_FILE).exists():
        return False
    with SupervisorLock(home) as lock:
        return not lock.acquire()
