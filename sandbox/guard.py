"""Ties a process to its parent: when the parent dies, even by SIGKILL, so does the process.

Run as a script in front of a command: `python -I -S guard.py PARENT_PID COMMAND ARGUMENT…`. It
asks Linux for a SIGKILL at the parent's death (`PR_SET_PDEATHSIG`, which survives `exec` but is
not inherited by grandchildren: `sandbox.reaper` is for those) and becomes the command. As a
separate program it needs no `preexec_fn`, which is unsafe beside threads. Elsewhere than on Linux
it only becomes the command. Used by `sandbox.process`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_EXIT_COMMAND_NOT_FOUND = 127  # as shells have it


def main(arguments: list[str]) -> int:
    """Become the command; return only when that is impossible."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        return 1
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return _EXIT_COMMAND_NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
