"""The DAGs of a sandbox: let them run, and at the end of a demo run the last ones and wait.

While the market is open Airflow's schedules rule. When it is closed and all has arrived, `finish`
builds the marts once more, waits for the checks that follow from their asset, then compacts and
reports. Used by `sandbox.demo` and `sandbox.cli`; a DAG that does not exist is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sandbox.airflow.environment import USER, password_file, read_password
from sandbox.airflow.rest import Airflow, AirflowError, Run
from sandbox.settings import ROOT, Settings

# What a demo lets run by its schedule. The daily and hourly ones would at once run for a past that
# the sandbox does not have; they run at the end.
OPEN: Final = ("build_marts", "check_quality", "watch_stream")

_PARSE_SECONDS: Final = 60.0  # from healthy to every file parsed
_START_SECONDS: Final = 60.0  # from an asset's event to the run that follows from it
_RUN_SECONDS: Final = 900.0  # a run; its own timeout should end it before
_LOOK_SECONDS: Final = 5.0  # between two looks for the live view


@dataclass(frozen=True, slots=True)
class Step:
    """A DAG at the end of a demo.

    Attributes:
        dag: its id.
        conf: parameters of the run.
        follows: the DAG whose asset starts it; empty when the demo does.
    """

    dag: str
    conf: Mapping[str, Any] = field(default_factory=dict)
    follows: str = ""


CLOSING: Final = (
    Step("build_marts"),
    Step("check_quality", follows="build_marts"),
    Step("compact_archive"),
    Step("report_quality", {"day": "today"}),
)


def dag_files(folder: Path = ROOT / "dags") -> set[str]:
    """Return the ids of the DAGs: each file is one, of the same name."""
    return {path.stem for path in folder.glob("*.py")}


def line(url: str, runs: Iterable[Run]) -> str:
    """Return Airflow's address and the newest run of each DAG, for the live view."""
    newest: dict[str, Run] = {}
    for run in runs:
        newest.setdefault(run.dag, run)
    states = ", ".join(f"{dag} {newest[dag].state}" for dag in sorted(newest))
    return f"airflow {url} {states}".strip()


def access(settings: Settings, *, show_password: bool) -> str:
    """Return how people log in; the password itself at its first showing only."""
    path = password_file(settings)
    password = f"password {read_password(settings)}, kept" if show_password else "password"
    return f"Airflow: {settings.airflow_url}, user {USER}, {password} in {path}"


def airflow_of(settings: Settings) -> Airflow:
    """Return a sandbox's Airflow."""
    return Airflow(settings.airflow_url, lambda: read_password(settings))


class Dags:
    """The DAGs of one sandbox.

    Args:
        airflow: its Airflow.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, airflow: Airflow, clock: Callable[[], float] = time.monotonic) -> None:
        self._airflow = airflow
        self._clock = clock
        self._looked_at = float("-inf")
        self._line = line(airflow.url, ())

    def unpause(self, names: Iterable[str], meanwhile: Callable[[], object]) -> set[str]:
        """Let DAGs run, when their files are parsed; return those that still were not.

        Args:
            names: ids of DAGs.
            meanwhile: called between two looks; waits a little.
        """
        left = set(names)
        for _ in self._until(_PARSE_SECONDS, meanwhile):
            with suppress(AirflowError):
                for name in left & self._airflow.dags().keys():
                    self._airflow.unpause(name)
                    left = left - {name}
            if not left:
                break
        return left

    def look(self) -> str:
        """Return the line for the live view; asks Airflow every few seconds."""
        now = self._clock()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            with suppress(AirflowError):
                self._line = line(self._airflow.url, self._airflow.runs())
        return self._line

    def finish(
        self,
        steps: Iterable[Step],
        meanwhile: Callable[[str], object],
        say: Callable[[str], object],
    ) -> bool:
        """Run the steps one after another; true when all succeeded.

        A step whose predecessor failed is not waited for: nothing starts it. What has run is
        paused, so that its schedule does not compete with the rest.

        Args:
            steps: in order.
            meanwhile: called with what is waited for; waits a little.
            say: told the outcome of each.
        """
        done: dict[str, Run] = {}
        known = self._airflow.dags()
        wanted = [step for step in steps if step.dag in known]
        for step in wanted:
            before = done.get(step.follows)
            if step.follows and (before is None or before.state != "success"):
                say(f"  {step.dag:<16}not started: {step.follows} did not succeed")
                continue
            run = self._start(step, before, meanwhile)
            if run is None:
                say(f"  {step.dag:<16}not started within {_START_SECONDS:.0f} s")
                continue
            done[step.dag] = run = self._wait(run, meanwhile)
            self._airflow.pause(run.dag)
            say(f"  {run.dag:<16}{run.state:<9}{run.link}")
        return all(step.dag in done and done[step.dag].state == "success" for step in wanted)

    def _start(
        self, step: Step, before: Run | None, meanwhile: Callable[[str], object]
    ) -> Run | None:
        """Trigger a run, or find the one that followed from `before`."""
        self._airflow.unpause(step.dag)
        if before is None:
            return self._airflow.trigger(step.dag, step.conf)
        for _ in self._until(_START_SECONDS, lambda: meanwhile(f"waiting for {step.dag}")):
            with suppress(AirflowError):
                for run in self._airflow.runs(step.dag, limit=1):
                    if run.queued_at > before.started_at:
                        return run
        return None

    def _wait(self, run: Run, meanwhile: Callable[[str], object]) -> Run:
        note = f"running {run.dag}"
        for _ in self._until(_RUN_SECONDS, lambda: meanwhile(note)):
            with suppress(AirflowError):
                run = self._airflow.run(run.dag, run.run)
            if run.is_finished:
                break
        return run

    def _until(self, seconds: float, meanwhile: Callable[[], object]) -> Iterator[None]:
        """Yield again and again, with `meanwhile` in between, until the time is over."""
        end = self._clock() + seconds
        while self._clock() < end:
            yield
            meanwhile()
