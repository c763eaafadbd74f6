"""A fault script beside a demo: a process of its own, whose injections and holes are told here."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from sandbox.faults.run import INJECTIONS_FILE, read_injections
from sandbox.probes import get
from sandbox.process import spawn, stop
from sandbox.services import user_environment
from sandbox.settings import ROOT, Settings

_GRACE_SECONDS: Final = 2.0


class Faults:
    """One run of a script against a sandbox of ours.

    Args:
        settings: of the sandbox.
        script: file of the script.
        say: prints a line.
    """

    def __init__(self, settings: Settings, script: Path, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._script = script.absolute()
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._told = 0
        self._holes = ""

    @property
    def injections(self) -> list[dict[str, Any]]:
        """What was injected so far."""
        return [asdict(injected) for injected in read_injections(self._settings.home)]

    def start(self, run_id: str) -> None:
        """Start the script after the run-up, if there is one; call it from the main thread."""
        (self._settings.home / INJECTIONS_FILE).unlink(missing_ok=True)
        self._say(f"faults: {self._script}")
        command = (
            *(sys.executable, "-m", "sandbox", "faults", str(self._script)),
            *("--home", str(self._settings.home), "--wait", str(self._settings.run_up)),
        )
        with (self._settings.home / "logs" / "faults.log").open("wb") as log:
            self._process = spawn(
                command,
                run_id=run_id,
                environment=user_environment(),
                directory=ROOT,
                output=log,
            )

    def look(self) -> None:
        """Tell what was injected since the last look, and what the collector says of its holes."""
        injections = read_injections(self._settings.home)
        for injected in injections[self._told :]:
            self._say(f"fault {injected.sentence}")
        self._told = len(injections)
        holes = _holes_of_collector(self._settings.collector_url)
        if holes and holes != self._holes:
            self._say(f"      holes: {holes}")
        self._holes = holes or self._holes

    def close(self) -> None:
        """End the script, if it still runs."""
        if self._process is not None:
            stop(self._process, _GRACE_SECONDS)
            self._process = None


def _holes_of_collector(url: str) -> str:
    """Return what /healthz says of holes as `name value, …`; empty when it says nothing."""
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        holes = json.loads(get(f"{url}/healthz")[1]).get("holes")
        if isinstance(holes, dict):
            plain = {
                name: value
                for name, value in holes.items()
                if value is not None and not isinstance(value, list)
            }
            return ", ".join(f"{name} {value}" for name, value in plain.items())
        return "" if holes is None else str(holes)
    return ""
