"""The supervisor: starts services in order, waits for health, restarts, stops, leaves nothing.

One thread and one loop. `Supervisor.step` does what is due and never waits for a service; `run`
repeats it until told to stop, and then stops the services in reverse order. `sandbox.cli` runs it
in a process of its own for `up`, `demo` and `replay` alike. The ways to end, and what ends then:

* SIGTERM, SIGINT or SIGHUP to the supervisor (`down`): all services in order, with their grace;
* a second signal: at once;
* the owner (the terminal's shell for `up`, the demo for `demo`) is gone: as with SIGTERM;
* SIGKILL to the supervisor: the kernel kills its children, `sandbox.reaper` all the rest.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Final

from sandbox import process as processes
from sandbox.probes import Probe, find_holder, is_free
from sandbox.state import (
    DEGRADED,
    FAILED,
    READY,
    STARTING,
    STOPPED,
    STOPPING,
    ServiceStatus,
)

logger = logging.getLogger(__name__)

WAITING: Final = "waiting"
DONE: Final = "done"
RESTARTING: Final = "restarting"

TAIL_LINES: Final = 20  # of a log, shown when a service fails: a Python traceback fits
_STABLE_SECONDS: Final = 60.0  # a service that ran so long starts again without delay
_REAPER_WAIT_SECONDS: Final = 30.0


class StartError(Exception):
    """A service could not be started; the message names it, the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a service listens on, and the setting that changes it."""

    number: int
    setting: str


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the sandbox.

    Attributes:
        name: unique name; also of the log file.
        command: program and arguments.
        environment: complete environment.
        after: services that must be ready (steps: done) before this one starts.
        probe: readiness check; None for a step, which is ready when it has ended well.
        ports: what it listens on.
        address: where people reach it.
        deadline_seconds: longest time from start to ready.
        grace_seconds: time between SIGTERM and SIGKILL.
        late_environment: more environment, asked for just before the start, when all of `after`
            are ready (the collector's channels depend on what a recording holds).
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    probe: Probe | None = None
    ports: tuple[Port, ...] = ()
    address: str = ""
    deadline_seconds: float = 60.0
    grace_seconds: float = 10.0
    late_environment: Callable[[], Mapping[str, str]] | None = None

    @property
    def is_step(self) -> bool:
        """True for a command that runs once and ends."""
        return self.probe is None


def restart_delays() -> Iterator[float]:
    """Yield the seconds to wait before each restart in a row: 0.5, 1, 2, … capped at 30."""
    return chain((0.5, 1.0, 2.0, 4.0, 8.0, 16.0), repeat(30.0))


@dataclass(slots=True)
class _Running:
    """What changes about a service while the sandbox runs."""

    service: Service
    log: Path
    phase: str = WAITING
    process: subprocess.Popen[bytes] | None = None
    since: float = 0.0
    was_ready: bool = False
    restarts: int = 0
    delays: Iterator[float] = field(default_factory=restart_delays)
    exit_code: int | None = None
    resident: int = 0
    peak: int = 0
    note: str = ""

    @property
    def is_up(self) -> bool:
        return self.phase in (READY, DONE)


class Supervisor:
    """Keeps a set of services running.

    Args:
        services: in start order; the reverse is the stop order.
        run_id: mark in the environment of every process.
        logs: folder of the logs.
        directory: working directory of the services.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        run_id: str,
        logs: Path,
        directory: Path,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = {
            service.name: _Running(service, logs / f"{service.name}.log") for service in services
        }
        self._run_id = run_id
        self._logs = logs
        self._directory = directory
        self._now = now
        self._reaper: subprocess.Popen[bytes] | None = None
        self.phase = STARTING
        self.peak_resident_bytes = 0

    @property
    def statuses(self) -> tuple[ServiceStatus, ...]:
        """The services as they are now, in start order."""
        return tuple(_status(running) for running in self._services.values())

    def open(self) -> None:
        """Check the ports and start the reaper.

        Raises:
            StartError: a port is taken.
        """
        check_ports([running.service for running in self._services.values()])
        self._logs.mkdir(parents=True, exist_ok=True)
        for running in self._services.values():
            running.log.write_bytes(b"")
        self._reaper = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "sandbox.reaper", self._run_id],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def step(self) -> None:
        """Do what is due: notice ends, ask probes, start what may start.

        Raises:
            StartError: a service ended or was not ready in time at its first start.
        """
        for running in self._services.values():
            self._step_one(running)
        if all(running.is_up for running in self._services.values()):
            self.phase = READY
        elif self.phase == READY:
            self.phase = DEGRADED

    def sample_memory(self) -> None:
        """Measure the services' memory and keep the highest."""
        leaders = {
            running.process.pid: running
            for running in self._services.values()
            if running.process is not None
        }
        for running in self._services.values():
            running.resident = 0
        own = processes.resident_bytes([*leaders])
        for leader, resident in own.items():
            leaders[leader].resident = resident
            leaders[leader].peak = max(leaders[leader].peak, resident)
        self.peak_resident_bytes = max(self.peak_resident_bytes, sum(own.values()))

    def close(self, hurry: Callable[[], bool] = lambda: False) -> list[int]:
        """Stop everything in reverse order.

        Args:
            hurry: asked before each service; True means no grace any more.

        Returns:
            Process ids that carry the run's mark and could not be ended: normally none.
        """
        self.phase = STOPPING
        for running in reversed(self._services.values()):
            self._stop_one(running, hurry)
        left = processes.end_members(self._run_id)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            try:
                self._reaper.wait(_REAPER_WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                self._reaper.kill()
                self._reaper.wait()
        self.phase = STOPPED
        return left

    def _step_one(self, running: _Running) -> None:
        if running.process is not None and running.process.poll() is not None:
            self._ended(running, running.process.returncode)
        elif running.phase == STARTING:
            self._probe(running)
        elif (running.phase == WAITING and self._may_start(running)) or (
            running.phase == RESTARTING and self._now() >= running.since
        ):
            self._start(running)

    def _may_start(self, running: _Running) -> bool:
        return all(self._services[name].is_up for name in running.service.after)

    def _start(self, running: _Running) -> None:
        service = running.service
        environment = dict(service.environment)
        if service.late_environment is not None:
            try:
                environment.update(service.late_environment())
            except (OSError, ValueError) as error:
                raise StartError(f"{service.name}: {error}") from error
        with running.log.open("ab") as log:
            running.process = processes.spawn(
                service.command,
                run_id=self._run_id,
                environment=environment,
                directory=self._directory,
                output=log,
            )
        running.phase, running.since = STARTING, self._now()
        logger.info("%s: started, pid %d", service.name, running.process.pid)

    def _probe(self, running: _Running) -> None:
        service = running.service
        running.note = (service.probe() or "") if service.probe else "still running"
        waited = self._now() - running.since
        if not running.note:
            running.phase, running.was_ready = READY, True
            logger.info("%s: ready after %.1f s", service.name, waited)
            if running.restarts:
                self._repeat_steps_after(service.name)
        elif waited > service.deadline_seconds:
            note = f"not ready within {service.deadline_seconds:.0f} s ({running.note})"
            if not running.was_ready:
                running.phase = FAILED
                raise StartError(_failure(running, note))
            logger.error("%s: %s", service.name, note)
            if running.process is not None:
                processes.stop(running.process, service.grace_seconds)

    def _ended(self, running: _Running, exit_code: int) -> None:
        service, lived = running.service, self._now() - running.since
        assert running.process is not None  # noqa: S101 - the caller looked
        processes.signal_group(running.process.pid, signal.SIGKILL)
        running.process, running.exit_code = None, exit_code
        if service.is_step and exit_code == 0:
            running.phase, running.was_ready, running.note = DONE, True, ""
            return
        if not running.was_ready:
            running.phase = FAILED
            raise StartError(_failure(running, f"ended with {describe_exit(exit_code)}"))
        if lived > _STABLE_SECONDS:
            running.delays = restart_delays()
        delay = next(running.delays)
        running.restarts += 1
        running.phase, running.since = RESTARTING, self._now() + delay
        running.note = f"ended with {describe_exit(exit_code)}"
        logger.warning("%s: %s; starts again in %.1f s", service.name, running.note, delay)

    def _repeat_steps_after(self, name: str) -> None:
        """Let steps that prepared a service run again: an emulator forgets at its restart."""
        for running in self._services.values():
            if running.phase == DONE and name in running.service.after:
                running.phase = WAITING

    def _stop_one(self, running: _Running, hurry: Callable[[], bool]) -> None:
        if running.process is not None:
            grace = 0.0 if hurry() else running.service.grace_seconds
            if not processes.stop(running.process, grace):
                logger.warning("%s: killed after %.0f s", running.service.name, grace)
            running.exit_code, running.process = running.process.returncode, None
        running.phase = STOPPED


def check_ports(services: Sequence[Service]) -> None:
    """Make sure that every port is free.

    Raises:
        StartError: names every port that is taken, by whom, and the setting that changes it.
    """
    taken = []
    for service in services:
        for port in service.ports:
            if not is_free("127.0.0.1", port.number):
                holder = find_holder(port.number) or "another process"
                flag = "--" + port.setting.removeprefix("SANDBOX_").lower().replace("_", "-")
                taken.append(
                    f"{service.name}: port {port.number} is taken by {holder}; end that process, "
                    f"or set {port.setting} ({flag}) to a free port, or use --ports auto"
                )
    if taken:
        raise StartError("\n".join(taken))


def describe_exit(exit_code: int) -> str:
    """Return `exit code 1` or `signal 9`."""
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, indented."""
    try:
        text = log.read_text("utf-8", errors="replace")
    except OSError as error:
        return f"    (no log: {error})"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (empty)"


def _failure(running: _Running, reason: str) -> str:
    return (
        f"{running.service.name}: {reason}\n  the last lines of {running.log}:\n{tail(running.log)}"
    )


def _status(running: _Running) -> ServiceStatus:
    return ServiceStatus(
        name=running.service.name,
        phase=running.phase,
        pid=running.process.pid if running.process else None,
        restarts=running.restarts,
        exit_code=running.exit_code,
        resident_bytes=running.resident,
        peak_resident_bytes=running.peak,
        log=str(running.log),
        address=running.service.address,
        note=running.note,
    )
