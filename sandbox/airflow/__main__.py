"""Airflow's four components in one process group: `python -m sandbox.airflow`.

Airflow is imported once and each component is a fork, as its own executor's workers are: imports
cost seconds of processor time and about 150 MiB, which four separate commands (`airflow
standalone` is those and a fifth) would pay each for itself. SIGTERM ends all, in the order below;
the end of one ends the others, and the supervisor starts the service again.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import time
import traceback
from types import FrameType
from typing import Final

# Name to command line. No servers for logs: the UI reads the files.
COMPONENTS: Final = {
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "api-server": ("api-server",),
}
# What components and tasks would import one by one; each is shared from here on.
SHARED: Final = (
    "airflow.__main__",
    "airflow.api_fastapi.app",
    "airflow.dag_processing.manager",
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "cosmos.airflow.task_group",
    "cosmos.operators.watcher",
)
GRACE_SECONDS: Final = 6.0  # for all components together; the supervisor gives us 10
_POLL_SECONDS: Final = 0.1


class _Stop(Exception):
    """SIGTERM or SIGINT."""


def main() -> int:
    """Prepare the database, run the components until one ends or a signal comes."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise_stop)
    children: dict[int, str] = {}
    try:
        for name in SHARED:
            importlib.import_module(name)
        _migrate()
        children = {_fork(command): name for name, command in COMPONENTS.items()}
        pid, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        print(f"{children.pop(pid, pid)} ended with {code}", file=sys.stderr)
        return 1
    except _Stop:
        return 0
    finally:
        _end(children)


def _raise_stop(number: int, frame: FrameType | None) -> None:
    raise _Stop


def _migrate() -> None:
    """Bring the database to this version, in a fork: a connection must not be shared by forks."""
    _, status = os.waitpid(_fork(("db", "migrate")), 0)
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"airflow db migrate ended with {code}")


def _fork(command: tuple[str, ...]) -> int:
    """Run an `airflow` command in a fork; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        sys.argv = ["airflow", *command]
        sys.modules["airflow.__main__"].main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end(children: dict[int, str]) -> None:
    """End the components: SIGTERM, a grace, SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    left = dict(children)
    while left and time.monotonic() < deadline:
        for pid in [*left]:
            if os.waitpid(pid, os.WNOHANG)[0]:
                del left[pid]
        time.sleep(_POLL_SECONDS)
    for pid, name in left.items():
        print(f"{name}: killed after {GRACE_SECONDS:.0f} s", file=sys.stderr)
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
