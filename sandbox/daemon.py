"""The supervisor's process: signals, owner, state file around `sandbox.supervisor`.

`python -m sandbox supervise`, started by `sandbox.lifecycle` in a session of its own, never by
people. It holds the home's lock for its life, so that there is one at most.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Final

import psutil

from sandbox.process import is_alive
from sandbox.services import build_services, user_environment
from sandbox.settings import ROOT, Settings, SettingsError
from sandbox.state import FAILED, STARTING, State, SupervisorLock, write_state
from sandbox.supervisor import Service, StartError, Supervisor

logger = logging.getLogger(__name__)

LOGS_FOLDER: Final = "logs"
_STARTING_TICK_SECONDS: Final = 0.1
_STEADY_TICK_SECONDS: Final = 0.5
_SAMPLE_SECONDS: Final = 1.0
_LOCK_TRIES: Final = 20  # a reader looks at the lock for a moment
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Counts the signals that mean stop and wakes a waiting loop at any signal."""

    def __init__(self) -> None:
        self.count = 0
        self._receiver, self._sender = socket.socketpair()
        for end in (self._receiver, self._sender):
            end.setblocking(False)

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle SIGTERM, SIGINT, SIGHUP and SIGCHLD inside the block, once; main thread only."""
        previous = {number: signal.signal(number, self._stop) for number in _STOP_SIGNALS}
        previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        descriptor = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._receiver.close()
            self._sender.close()

    def wait(self, seconds: float) -> None:
        """Wait for a signal, at most so long."""
        if select.select([self._receiver], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                while self._receiver.recv(4096):
                    pass

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


Build = Callable[[Settings, Mapping[str, str]], Sequence[Service]]


def supervise(
    settings: Settings, run_id: str, owner: int | None, build: Build = build_services
) -> int:
    """Run the sandbox until a signal or the owner's end; return the exit code.

    Args:
        settings: the run's settings.
        run_id: mark of all processes of the run.
        owner: process whose end is ours too, None for none.
        build: makes the services from the settings and the user's environment.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    signals = Signals()
    with signals.handled(), SupervisorLock(settings.home) as lock:
        for _ in range(_LOCK_TRIES):
            if lock.acquire():
                return _Run(settings, run_id, owner, signals, build).run()
            signals.wait(_STARTING_TICK_SECONDS)
    logger.error("another supervisor has %s", settings.home)
    return 1


class _Run:
    """One life of the supervisor's process."""

    def __init__(
        self, settings: Settings, run_id: str, owner: int | None, signals: Signals, build: Build
    ) -> None:
        self._settings = settings
        self._run_id = run_id
        self._signals = signals
        self._build = build
        self._owner_is_gone = _watch(owner)
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()
        self._ready_seconds: float | None = None
        self._supervisor: Supervisor | None = None
        self._phase = STARTING
        self._error = ""

    def run(self) -> int:
        """Start, keep and stop everything."""
        self._save()
        try:
            services = self._build(self._settings, user_environment())
            self._supervisor = Supervisor(
                services,
                run_id=self._run_id,
                logs=self._settings.home / LOGS_FOLDER,
                directory=ROOT,
            )
            self._supervisor.open()
            self._loop(self._supervisor)
        except (StartError, SettingsError) as error:
            self._error = str(error)
            logger.error("%s", error)
        except Exception as error:  # a bug: `up` and the demo show it too
            self._error = f"{type(error).__name__}: {error}"
            logger.exception("the supervisor failed")
        finally:
            self._close()
        return 1 if self._error else 0

    def _loop(self, supervisor: Supervisor) -> None:
        sampled = 0.0
        while not self._signals.count and not self._owner_is_gone():
            supervisor.step()
            now = time.monotonic()
            if self._ready_seconds is None and supervisor.phase != STARTING:
                self._ready_seconds = now - self._started
                logger.info("all services ready after %.1f s", self._ready_seconds)
            if now - sampled >= _SAMPLE_SECONDS:
                supervisor.sample_memory()
                sampled = now
            self._phase = supervisor.phase
            self._save()
            steady = self._ready_seconds is not None
            self._signals.wait(_STEADY_TICK_SECONDS if steady else _STARTING_TICK_SECONDS)

    def _close(self) -> None:
        if self._supervisor is not None:
            self._phase = "stopping"
            self._save()
            before = self._signals.count
            left = self._supervisor.close(hurry=lambda: self._signals.count > max(before, 1))
            if left:
                self._error = f"{self._error}\nprocesses that did not end: {left}".strip()
        self._phase = FAILED if self._error else "stopped"
        self._save()
        logger.info("stopped")

    def _save(self) -> None:
        supervisor = self._supervisor
        write_state(
            self._settings.home,
            State(
                run_id=self._run_id,
                pid=os.getpid(),
                phase=self._phase,
                started_at=self._started_at.isoformat(),
                ready_seconds=self._ready_seconds,
                peak_resident_bytes=supervisor.peak_resident_bytes if supervisor else 0,
                error=self._error,
                settings=self._settings.document,
                services=supervisor.statuses if supervisor else (),
            ),
        )


def _watch(owner: int | None) -> Callable[[], bool]:
    """Return a function that tells whether the owner is gone."""
    if owner is None:
        return lambda: False
    try:
        process = psutil.Process(owner)
    except psutil.NoSuchProcess:
        return lambda: True
    return lambda: not is_alive(process)
