"""A whole sandbox of its own for a benchmark: where it is, its state, waiting until it is dry."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from google.cloud.pubsub import SubscriberClient

from sandbox.progress import Reader
from sandbox.settings import AUDIT_SUBSCRIPTION, PROJECT, Platform, Settings, platform_of
from sandbox.state import State, read_state

_DRAIN_SECONDS: Final = 600.0


@contextlib.contextmanager
def sandbox(*arguments: str) -> Iterator[dict[str, str]]:
    """Run a sandbox of its own and yield the environment that clients need to find it."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "sandbox"]
        place = ["--home", home]
        up = [*command, "up", *place, "--ports", "auto", "--detach", *arguments]
        subprocess.run(up, check=True, stdout=subprocess.DEVNULL, timeout=180)
        try:
            state = json.loads((Path(home) / "state.json").read_text("utf-8"))
            shown = subprocess.run(
                [*command, "env", *place], check=True, capture_output=True, text=True, timeout=30
            )
            lines = (line.removeprefix("export ") for line in shown.stdout.splitlines())
            environment = dict(line.split("=", 1) for line in lines if "=" in line)
            addresses = {
                f"ADDRESS_{service['name'].upper()}": service["address"].split(" ")[0]
                for service in state["services"]
            }
            yield {**environment, **addresses, "SANDBOX_HOME": home}
        finally:
            subprocess.run([*command, "down", *place], check=True, timeout=60)


def forget_auditor() -> None:
    """Delete the certificate's subscription: where nobody pulls it, it keeps an hour of frames."""
    with SubscriberClient() as client:
        name = client.subscription_path(PROJECT, AUDIT_SUBSCRIPTION)
        client.delete_subscription(subscription=name, timeout=30)


def state_of(home: Path) -> State:
    """Return the state of the sandbox in a folder.

    Raises:
        LookupError: it has none.
    """
    state = read_state(home)
    if state is None:
        raise LookupError(f"{home} has no state: the sandbox did not start")
    return state


def settings_of(home: Path) -> Settings:
    """Return the settings of the sandbox in a folder."""
    return Settings.from_document(state_of(home).settings)


def platform_in(home: Path) -> Platform:
    """Return the platform of the sandbox in a folder."""
    state = state_of(home)
    return platform_of(
        settings_of(home),
        started_at=datetime.fromisoformat(state.started_at),
        ready_seconds=state.ready_seconds or 0.0,
        peak_memory=dict,
    )


def drain(platform: Platform) -> str:
    """Wait until every stage has what the collectors sealed; return what was waited for.

    Raises:
        TimeoutError: the stages did not drain; the text has what was missing.
    """
    reader = Reader(platform)
    began = time.monotonic()
    while True:
        progress = reader.read(exactly=True)
        missing = progress.missing(progress.sealed)
        passed = time.monotonic() - began
        if not missing:
            return f"{progress.loaded:,} trades, drained after {passed:.0f} s"
        if passed > _DRAIN_SECONDS:
            raise TimeoutError(f"not drained after {passed:.0f} s: {missing}")
        time.sleep(1)
