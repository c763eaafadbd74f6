"""Ends what a supervisor leaves behind, however the supervisor itself ended.

`python -m sandbox.reaper RUN_ID`, started by `sandbox.supervisor` before anything else. It holds
the reading end of a pipe whose only writer is the supervisor: when that dies, even by SIGKILL, the
pipe ends and the reaper kills every process that carries the run's mark, grandchildren and
processes of other sessions included. It ignores the signals that end the others.
"""

from __future__ import annotations

import signal
import sys
from typing import BinaryIO

from sandbox.process import end_members


def reap(run_id: str, lifeline: BinaryIO) -> list[int]:
    """Wait for the end of the lifeline, then end the run; return the pids that could not be."""
    while lifeline.read(4096):
        pass
    return end_members(run_id)


def main(arguments: list[str]) -> int:
    """Run the reaper of a run."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return 1 if reap(arguments[0], sys.stdin.buffer) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
