"""A dbt that is started once and runs each command in a fork.

Importing dbt and reading the project takes longer than a run that finds little new. `sandbox.marts`
starts `python -m sandbox.dbt_host FOLDER LOG`; a line on standard input is the arguments of a
command as JSON, a line on standard output the exit code that dbt would have had. What dbt prints
goes to the log, which begins anew with each command.

A fork finds dbt as it was before any command, so commands leave nothing behind in it. The project
is read again when one of its files has changed; until then views that were made once stand, and
`run` leaves them out.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

_WRITTEN_BY_DBT: Final = {"target", "logs"}
_PR_SET_PDEATHSIG: Final = 1  # include/uapi/linux/prctl.h


def main(folder: Path, log: Path) -> None:
    """Run commands until standard input ends."""
    commands, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    _print_to(log)
    _spare_dbt_its_stack()
    project = Project(folder)
    for line in commands:
        _print_to(log)
        print(run(project, json.loads(line)), file=answers, flush=True)


class Project:
    """A dbt project that is read when it has changed.

    Args:
        folder: of the project and its profiles.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, tuple[int, int]] = {}
        self._manifest: Any = None
        self.has_views = False

    def read(self) -> bool:
        """Read the project if it has changed; False when dbt cannot, and has printed why."""
        files = _files(self._folder)
        if files == self._files:
            return True
        result = self._dbt("--no-use-colors", "--quiet", "parse")
        if result.success:
            self._files, self._manifest, self.has_views = files, result.result, False
            gc.freeze()  # a collection in a fork would touch, and so copy, all of it
        return bool(result.success)

    def run(self, arguments: list[str]) -> bool:
        """Run dbt over the project as it was read; True when it succeeded."""
        if self.has_views and "run" in arguments:
            arguments = [*arguments, "--exclude", "config.materialized:view"]
        result = self._dbt(*arguments, manifest=self._manifest)
        if result.exception is not None:
            print(result.exception)
        return bool(result.success)

    def _dbt(self, *arguments: str, manifest: Any = None) -> Any:
        from dbt.cli.main import dbtRunner

        folder = str(self._folder)
        places = ("--project-dir", folder, "--profiles-dir", folder)
        return dbtRunner(manifest).invoke([*arguments, *places])


def run(project: Project, arguments: list[str]) -> int:
    """Run dbt in a fork; return 0 when it succeeded."""
    if not project.read():
        return 1
    child = os.fork()
    if child:
        exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        project.has_views |= exit_code == 0 and not {"run", "build"}.isdisjoint(arguments)
        return exit_code
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    good = False
    try:
        good = project.run(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(not good)


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return when each file of a project was written, and its size."""
    return {
        path: (status.st_mtime_ns, status.st_size)
        for path in folder.rglob("*.*")
        if path.relative_to(folder).parts[0] not in _WRITTEN_BY_DBT
        for status in (path.stat(),)
    }


def _spare_dbt_its_stack() -> None:
    """Let dbt look once, not in each run, through its stack for what a warning may want to name."""
    from dbt_common.behavior_flags import BehaviorFlagRendered as Flag

    once = functools.cache(Flag._default_source)
    Flag._default_source = staticmethod(once)  # type: ignore[method-assign]


def _print_to(log: Path) -> None:
    """Let a new log take what this process and its forks print."""
    with log.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
