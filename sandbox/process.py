"""Child processes that can't outlive the sandbox: start, measure, stop, find what is left.

Every process of a run carries the run's id in its environment (`SANDBOX_RUN`) and so do all of
its descendants; that mark, not a pid, says what belongs to a run. Each service is the leader of a
session of its own, so that Ctrl-C in a terminal reaches the supervisor only, and a signal to the
group reaches grandchildren. Used by `sandbox.supervisor`, `sandbox.reaper` and `sandbox.marts`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import psutil

RUN_MARK: Final = "SANDBOX_RUN"
_GUARD: Final = Path(__file__).with_name("guard.py")
_KILL_WAIT_SECONDS: Final = 5.0  # the kernel ends a killed process within milliseconds


def spawn(
    command: Sequence[str],
    *,
    run_id: str,
    environment: Mapping[str, str],
    directory: Path,
    output: IO[bytes] | int,
    commands: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a command that dies with us; call it from the main thread only.

    Linux ties the death signal to the *thread* that forked, so a worker thread's end would end
    the child.

    Args:
        command: program and arguments; a missing program ends the child with exit code 127.
        run_id: mark that all descendants inherit.
        environment: complete environment of the child.
        directory: working directory.
        output: file that takes stdout and stderr.
        commands: file that stdin reads; empty if not given.
    """
    guarded = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *command]
    return subprocess.Popen(  # noqa: S603 - our own command lines
        guarded,
        env={**environment, RUN_MARK: run_id},
        cwd=directory,
        stdin=commands,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes], grace_seconds: float) -> bool:
    """End a child and its group: SIGTERM, a grace period, SIGKILL. True when grace was enough."""
    signal_group(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=grace_seconds)
        in_time = True
    except subprocess.TimeoutExpired:
        in_time = False
    signal_group(process.pid, signal.SIGKILL)  # also what the leader left behind
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_KILL_WAIT_SECONDS)
    return in_time


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to a process group, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def members(run_id: str) -> list[psutil.Process]:
    """Return the living processes that carry a run's mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(RUN_MARK) == run_id and is_alive(process):
                found.append(process)
    return found


def end_members(run_id: str, *, rounds: int = 20) -> list[int]:
    """Kill everything that carries a run's mark; return the pids that were left all the same.

    Several rounds, because a process may fork between being seen and being killed.
    """
    left: list[psutil.Process] = []
    for _ in range(rounds):
        left = members(run_id)
        if not left:
            break
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=_KILL_WAIT_SECONDS / rounds)
    return [process.pid for process in left]


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; a zombie does not, nor does a later owner of its pid."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def resident_bytes(leaders: Iterable[int]) -> dict[int, int]:
    """Return the resident memory in bytes of each session: the leader and all its descendants.

    Pages that processes share are counted in each of them, so a sum is an upper bound.
    """
    totals = dict.fromkeys(leaders, 0)
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            leader = os.getsid(pid)
            if leader in totals:
                totals[leader] += int(psutil.Process(pid).memory_info().rss)
    return totals


def controlling_owner() -> psutil.Process | None:
    """Return the leader of our session when a terminal controls it, otherwise None."""
    if not any(os.isatty(number) for number in (0, 1, 2)):
        return None
    try:
        return psutil.Process(os.getsid(0))
    except psutil.Error:
        return None
