"""Runs a fault script against a sandbox: waits for each moment, does what it says, notes it down.

The exchange's and the broker's faults go through their endpoints, a process is killed by its pid in
the supervisor's state. Every injection becomes a line of `injections.jsonl` in the sandbox's home,
with the answer or the error. Used by `python -m sandbox faults`, the demo and the campaign.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil

from sandbox.airflow.__main__ import COMPONENTS
from sandbox.exchange.faults import MESSAGE_KINDS, REST_KINDS
from sandbox.faults.script import BROKER, BROKER_NAMES, EXCHANGE, Injection, Script
from sandbox.probes import get, post_json
from sandbox.process import RUN_MARK
from sandbox.settings import HOST, Settings
from sandbox.state import read_state

INJECTIONS_FILE: Final = "injections.jsonl"
_TICK_SECONDS: Final = 0.05
# Below every file that matters, above the log of a collector: what went wrong can be read there.
_FULL_DISK_BYTES: Final = 64 * 1024

Undo = Callable[[], None]


class InjectionError(Exception):
    """A fault could not be injected; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Injected:
    """What was done, as a line of `injections.jsonl`.

    Attributes:
        at: when, ISO 8601 in UTC.
        seconds: after the script's start.
        what: kind of the fault.
        parameters: of the fault.
        result: what the place answered.
        error: why it was not done; empty when it was.
    """

    at: str
    seconds: float
    what: str
    parameters: dict[str, Any]
    result: dict[str, Any]
    error: str = ""

    @property
    def sentence(self) -> str:
        """The line for people."""
        shown = " ".join(f"{name}={value}" for name, value in self.parameters.items())
        struck = self.result.get("struck") or self.result.get("pid")
        outcome = self.error or (f"({struck})" if struck else "")
        return f"{self.seconds:6.1f} s  {self.what} {shown} {outcome}".rstrip()


class Target:
    """A running sandbox, to be harmed.

    Args:
        settings: of the run, as its state has them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def sent_messages(self) -> int:
        """Return how many messages the exchange has sent, 0 while it does not answer."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            _, body = get(f"{self._settings.exchange_url}/sim/status")
            return int(json.loads(body)["sent_messages"])
        return 0

    def inject(self, injection: Injection, seed: int) -> tuple[dict[str, Any], Undo | None]:
        """Do it; return what the place answered and how it is undone after its seconds.

        Args:
            injection: what to do.
            seed: of the fault's chance, where it has none of its own.

        Raises:
            InjectionError: it could not be done.
        """
        parameters = dict(injection.parameters)
        if injection.place == EXCHANGE:
            if injection.what in MESSAGE_KINDS or injection.what in REST_KINDS:
                parameters.setdefault("seed", seed)
            url = f"{self._settings.exchange_url}/sim/faults"
            return self._post(url, {"what": injection.what, **parameters}), None
        if injection.place == BROKER:
            calls = {"calls": parameters.pop("count")} if "count" in parameters else {}
            url = f"http://{HOST}:{self._settings.ports.pubsub_admin}/faults"
            kind = BROKER_NAMES[injection.what]
            return self._post(url, {"kind": kind, **parameters, **calls}), None
        process = self._process(parameters.get("process", "collector"), seed)
        if injection.what == "kill":
            os.kill(process.pid, signal.SIGKILL)
            return {"pid": process.pid}, None
        return {"pid": process.pid}, _fill_disk(process)

    def _post(self, url: str, document: dict[str, Any]) -> dict[str, Any]:
        try:
            status, body = post_json(url, document)
        except (OSError, http.client.HTTPException) as error:
            raise InjectionError(
                f"{url}: {error}; is it running, and Pub/Sub the embedded one"
                " (`--pubsub embedded`)?"
            ) from error
        if status not in (200, 201):
            raise InjectionError(f"{url}: HTTP {status} {body[:300].decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    def _process(self, name: str, seed: int) -> psutil.Process:
        """Return the process of a service, or of one of Airflow's components."""
        state = read_state(self._settings.home)
        pids = {each.name: each.pid for each in state.services} if state else {}
        service, _, component = (name, "", "") if name in pids else name.partition("-")
        try:
            if state is None or (pid := pids.get(service)) is None:
                raise InjectionError(
                    f"{name}: no such process runs; see `python -m sandbox status`"
                )
            leader = psutil.Process(pid)
            if leader.environ().get(RUN_MARK) != state.run_id:
                raise InjectionError(f"{name}: pid {pid} is another program's now")
            return _component(leader, component, seed) if component else leader
        except psutil.Error as error:
            raise InjectionError(f"{name}: {error}") from error


def _component(leader: psutil.Process, component: str, seed: int) -> psutil.Process:
    """Return one of Airflow's forks, or a task's process below the scheduler."""
    forks = sorted(leader.children(), key=lambda each: (each.create_time(), each.pid))
    by_name = dict(zip(COMPONENTS, forks[-len(COMPONENTS) :], strict=False))
    if component == "worker":
        workers = by_name["scheduler"].children() if "scheduler" in by_name else []
        if not workers:
            raise InjectionError("airflow-worker: no task is running")
        return workers[Random(seed).randrange(len(workers))]
    if component not in by_name:
        raise InjectionError(f"airflow-{component}: it does not run")
    return by_name[component]


def _fill_disk(process: psutil.Process) -> Undo:
    """Let no file of a process grow; the kernel refuses its writes as a full disk would."""
    if not hasattr(process, "rlimit"):
        raise InjectionError("disk_full: needs Linux, which can limit the files of a process")
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (_FULL_DISK_BYTES, before[1]))

    def undo() -> None:
        with contextlib.suppress(psutil.Error):
            process.rlimit(psutil.RLIMIT_FSIZE, before)

    return undo


class Runner:
    """One run of a script.

    Args:
        script: what goes wrong, and when.
        target: to whom.
        log: file for the lines.
        notice: told of each injection.
        clock: seconds that never run backwards.
        wait: waits so many seconds.
    """

    def __init__(
        self,
        script: Script,
        target: Target,
        log: Path,
        *,
        notice: Callable[[Injected], None] = lambda injected: None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._script = script
        self._target = target
        self._log = log
        self._notice = notice
        self._clock = clock
        self._wait = wait
        self._pending = dict(enumerate(script.injections))
        self._undo: list[tuple[float, Undo]] = []

    def run(self, is_stopped: Callable[[], bool] = lambda: False) -> list[Injected]:
        """Do everything, and return it, when the last fault is over or we are stopped."""
        self._log.write_text("", "utf-8")
        started, done = self._clock(), list[Injected]()
        while not is_stopped():
            passed = self._clock() - started
            for number, injection in self._due(passed):
                del self._pending[number]
                done.append(self._inject(number, injection, passed))
            self._undo_due(passed)
            if not self._pending and not self._undo and passed >= self._script.lasts_seconds:
                break
            self._wait(_TICK_SECONDS)
        self._undo_due(float("inf"))
        return done

    def _due(self, passed: float) -> Iterator[tuple[int, Injection]]:
        counted = any(each.messages is not None for each in self._pending.values())
        sent = self._target.sent_messages() if counted else 0
        for number, each in [*self._pending.items()]:
            by_time = each.seconds is not None and passed >= each.seconds
            if by_time or (each.messages is not None and sent >= each.messages):
                yield number, each

    def _inject(self, number: int, injection: Injection, passed: float) -> Injected:
        result: dict[str, Any] = {}
        error = ""
        try:
            result, undo = self._target.inject(injection, self._script.seed * 1000 + number)
            if undo is not None:
                self._undo.append((passed + float(injection.parameters["seconds"]), undo))
        except InjectionError as problem:
            error = str(problem)
        injected = Injected(
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            seconds=round(passed, 2),
            what=injection.what,
            parameters=dict(injection.parameters),
            result=result,
            error=error,
        )
        with self._log.open("a", encoding="utf-8") as file:
            line = {name: getattr(injected, name) for name in Injected.__dataclass_fields__}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._notice(injected)
        return injected

    def _undo_due(self, passed: float) -> None:
        for moment in [each for each in self._undo if each[0] <= passed]:
            self._undo.remove(moment)
            moment[1]()


def read_injections(home: Path) -> list[Injected]:
    """Return what was injected into the sandbox of a home so far."""
    try:
        lines = (home / INJECTIONS_FILE).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [Injected(**json.loads(line)) for line in lines]
