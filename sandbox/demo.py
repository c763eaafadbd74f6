"""`demo` and `replay`: run the platform, watch it, close the market, certify what came out.

The whole is a short sequence (`_Demo.run`): start everything, watch for some minutes or until a
recording was served, wait until the pipeline has drained, build the marts, print the certificate.
The marts have one builder: Airflow's DAG, or dbt beside the platform without Airflow.
The supervisor is a process of its own that ends when this one does, however it does.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from sandbox import lifecycle
from sandbox.airflow.dags import CLOSING, OPEN, Dags, access, airflow_of, dag_files
from sandbox.airflow.environment import password_file
from sandbox.airflow.rest import AirflowError
from sandbox.closing import close_market, drain
from sandbox.daemon import Signals
from sandbox.faults.beside import Faults
from sandbox.faults.report import holes_table, read_holes
from sandbox.marts import Marts
from sandbox.probes import post_json
from sandbox.progress import Progress, Reader
from sandbox.settings import ON, RECORDING, SIMULATED, Platform, Settings, platform_of
from sandbox.state import READY, State, read_state
from sandbox.view import View

COMPLETE: Final = "COMPLETE"
_TICK_SECONDS: Final = 1.0
_MARTS_SECONDS: Final = 20.0  # between the end of one build of the marts and the next
_FILE_COLUMNS: Final = 140  # of a log or a pipe; the certificate's widest table fits
_STOPPED_BY_SIGNAL: Final = 130


class _Stopped(Exception):
    """A signal asked us to end, or the sandbox ended under us."""


def run_demo(
    settings: Settings,
    *,
    seconds: float | None,
    fresh: bool,
    leave: bool,
    output: Path | None,
    reference_klines: tuple[Path, ...],
    faults: Path | None = None,
) -> int:
    """Run the platform and certify the outcome; return the exit code.

    Args:
        settings: of the run.
        seconds: how long to watch; None until a recording was served.
        fresh: remove the data of earlier runs first.
        leave: stop everything after the certificate instead of staying up.
        output: file for the certificate as JSON.
        reference_klines: official kline files to compare with.
        faults: fault script to run meanwhile.

    Raises:
        LifecycleError: the sandbox did not start.
        OSError: `output` can't be written.
    """
    if output is not None:
        output.touch()  # before minutes of work, not after
    if fresh:
        lifecycle.remove_data(settings)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_COLUMNS)
    signals = Signals()
    with signals.handled():
        demo = _Demo(settings, signals, console, reference_klines, faults)
        try:
            certificate = demo.run(seconds)
            if output is not None:
                output.write_text(json.dumps(certificate, indent=2) + "\n", "utf-8")
            if not leave:
                demo.stay()
            return 0 if certificate["verdict"] == COMPLETE else 1
        except _Stopped as stopped:
            demo.say(str(stopped))
            return _STOPPED_BY_SIGNAL if signals.count else 1
        finally:
            demo.close()


class _Demo:
    """One run, from start to certificate."""

    def __init__(
        self,
        settings: Settings,
        signals: Signals,
        console: Console,
        reference_klines: tuple[Path, ...],
        faults: Path | None,
    ) -> None:
        self._faults = None if faults is None else Faults(settings, faults, self.say)
        self._settings = settings
        self._signals = signals
        self._console = console
        self._reference_klines = reference_klines
        self._started = time.monotonic()
        self._marts: Marts | None = None
        self._dags: Dags | None = None
        self._marts_at = float("-inf")
        self._first_candles: float | None = None
        self._is_started = False  # a sandbox that someone else started is not ours to stop

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def run(self, seconds: float | None) -> dict[str, Any]:
        """Do everything up to the certificate and return it."""
        state = self._start()
        platform = self._platform(state)
        reader = Reader(platform)
        if self._settings.airflow == ON:
            self._dags = self._open_dags()
        else:
            self._marts = Marts(self._settings, platform, state.run_id)
        if self._settings.exchange == SIMULATED and self._settings.run_up:
            url = f"{self._settings.exchange_url}/sim/hurry?seconds={self._settings.run_up}"
            status, reply = post_json(url, {})
            if status != HTTPStatus.OK:
                raise lifecycle.LifecycleError(
                    f"the simulated exchange did not hurry: HTTP {status} {reply.decode()} to {url}"
                )
            self.say(f"the market hurries through a whole day in {self._settings.run_up} s")
        if self._faults is not None:
            self._faults.start(state.run_id)
        with View(self._console, now=lambda: datetime.now(UTC), clock=time.monotonic) as view:
            self._watch(reader, view, seconds)
            self._drain(reader, view)
            self._build(reader, view)
        return self._certify(platform)

    def stay(self) -> None:
        """Leave everything up until a signal."""
        self.say("The sandbox stays up; query it with the ordinary clients:")
        for name, value in self._settings.client_environment.items():
            self.say(f"  export {name}={value}")
        if self._dags is not None:
            self._dags.unpause(dag_files(), self._rest)
        self.say("Ctrl-C ends it.")
        while not self._signals.count and lifecycle.find(self._settings) is not None:
            self._signals.wait(_TICK_SECONDS)

    def close(self) -> None:
        """End everything."""
        if self._faults is not None:
            self._faults.close()
        if self._marts is not None:
            self._marts.close()
        if self._is_started:
            lifecycle.stop(self._settings)

    def _start(self) -> State:
        self.say(f"starting the sandbox, logs in {self._settings.home / 'logs'}")
        is_new = not password_file(self._settings).exists()
        run_id = lifecycle.start(self._settings, owner=os.getpid())
        self._is_started = True
        seen: dict[str, str] = {}

        def notice(state: State) -> None:
            for service in state.services:
                if service.phase in (READY, "done") and seen.get(service.name) != service.phase:
                    self.say(f"  {service.name:<12}{service.phase:<8}{service.address}")
                seen[service.name] = service.phase
            if self._signals.count:
                raise _Stopped("stopped while starting")

        state = lifecycle.wait_ready(self._settings, run_id, notice)
        self.say(f"ready after {state.ready_seconds or 0.0:.1f} s")
        if self._settings.airflow == ON:
            self.say(access(self._settings, show_password=is_new))
        return state

    def _open_dags(self) -> Dags:
        """Let the DAGs run that the market needs while it is open."""
        dags = Dags(airflow_of(self._settings))
        late = dags.unpause(dag_files() & {*OPEN}, self._rest)
        if late:
            self.say(f"Airflow has not parsed {', '.join(sorted(late))}: see its import errors")
        return dags

    def _rest(self) -> None:
        self._signals.wait(_TICK_SECONDS)
        if self._signals.count:
            raise _Stopped("stopping")

    def _platform(self, state: State) -> Platform:
        return platform_of(
            self._settings,
            started_at=datetime.fromisoformat(state.started_at),
            ready_seconds=state.ready_seconds or 0.0,
            peak_memory=self._peak_memory,
            reference_klines=self._reference_klines,
        )

    def _peak_memory(self) -> dict[str, int]:
        state = read_state(self._settings.home)
        services = state.services if state is not None else ()
        peaks = {each.name: each.peak_resident_bytes for each in services if each.address}
        if self._marts is not None:
            peaks["dbt"] = self._marts.peak_resident_bytes
        peaks["total"] = state.peak_resident_bytes if state is not None else 0
        return peaks

    def _watch(self, reader: Reader, view: View, seconds: float | None) -> None:
        """Show the stream for some time, or until a recording was served."""
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        progress = Progress()
        while time.monotonic() < end and not (seconds is None and progress.is_sent_out):
            left = f"{end - time.monotonic():.0f} s to go" if seconds is not None else "replaying"
            progress = self._tick(reader, view, left)

    def _drain(self, reader: Reader, view: View) -> None:
        """Close the market and wait until what was sent has arrived everywhere."""

        def tick(note: str, *, exactly: bool = False) -> Progress:
            return self._tick(reader, view, note, exactly=exactly)

        settings = self._settings
        if settings.exchange == SIMULATED:
            close_market(str(settings.exchange_url), tick, speed=settings.speed)
        drain(tick, self.say, is_recording=settings.exchange == RECORDING)

    def _build(self, reader: Reader, view: View) -> None:
        """Build and test the marts over the complete data."""
        if self._dags is not None:
            self._finish_dags(self._dags, reader, view)
        if (marts := self._marts) is None:
            return
        marts.wait(lambda: self._quiet_tick(reader, view, "finishing a build of the marts"))
        marts.start("build")
        good = marts.wait(lambda: self._quiet_tick(reader, view, "building the marts"))
        self._note_candles(reader.read(exactly=True))
        if not good:
            self.say(f"dbt build failed; its log is {marts.log}")

    def _finish_dags(self, dags: Dags, reader: Reader, view: View) -> None:
        """Run the DAGs that a day ends with, over the complete data."""
        self.say("DAGs over the complete data:")
        try:
            dags.finish(CLOSING, lambda note: self._quiet_tick(reader, view, note), self.say)
        except AirflowError as error:
            self.say(f"Airflow: {error}; its log is {self._settings.home / 'logs' / 'airflow.log'}")
        self._note_candles(reader.read(exactly=True))

    def _certify(self, platform: Platform) -> dict[str, Any]:
        # The ordinary clients find the platform by these, as everybody's would.
        os.environ.update(self._settings.client_environment)
        warnings.simplefilter("ignore", FutureWarning)  # Google's on our Python, once per library
        from sandbox.certificate import collect, render

        self.say("certifying")
        certificate: dict[str, Any] = collect(platform)
        if self._faults is not None:
            certificate["injections"] = self._faults.injections
            self._console.print(holes_table(read_holes(platform)))
        if self._first_candles is not None:
            certificate.setdefault("first_candles_seconds", round(self._first_candles, 1))
        render(certificate, self._console)
        return certificate

    def _tick(self, reader: Reader, view: View, note: str, *, exactly: bool = False) -> Progress:
        """Read, draw, keep the marts fresh, wait a little."""
        progress = self._quiet_tick(reader, view, note, exactly=exactly)
        marts = self._marts
        if marts is not None and progress.loaded and not marts.is_running:
            if marts.runs and self._marts_at == float("-inf"):
                self._marts_at = time.monotonic()
            if not marts.runs or time.monotonic() - self._marts_at > _MARTS_SECONDS:
                marts.start("run")
                self._marts_at = float("-inf")
        return progress

    def _quiet_tick(
        self, reader: Reader, view: View, note: str, *, exactly: bool = False
    ) -> Progress:
        began = time.monotonic()
        progress = reader.read(exactly=exactly)
        if self._faults is not None:
            self._faults.look()
        self._note_candles(progress)
        state = lifecycle.find(self._settings)
        if self._signals.count:
            raise _Stopped("stopping")
        if state is None:
            last = read_state(self._settings.home)
            raise _Stopped(f"the sandbox ended: {last.error if last else ''}".strip(": "))
        view.update(progress, state, note, self._dags.look() if self._dags else "")
        spent = time.monotonic() - began
        self._signals.wait(max(_TICK_SECONDS - spent, _TICK_SECONDS / 10))
        return progress

    def _note_candles(self, progress: Progress) -> None:
        if self._first_candles is None and progress.candles:
            self._first_candles = time.monotonic() - self._started
            self.say(f"first candles after {self._first_candles:.0f} s")
