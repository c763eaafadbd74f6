"""What the benchmarks share: pinned processes and the firehose."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def pinned(arguments: Sequence[str], core: int) -> list[str]:
    """Return the command of a Python process that runs on one core."""
    return ["taskset", "-c", str(core % (os.cpu_count() or 1)), sys.executable, *arguments]


def run_json(
    arguments: Sequence[str], *, core: int, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a Python process on one core and return the JSON object of its last line.

    Raises:
        RuntimeError: it failed; the text has what it printed.
    """
    done = subprocess.run(
        pinned(arguments, core),
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextlib.contextmanager
def firehose(messages: int, *, core: int) -> Iterator[tuple[str, list[str]]]:
    """Run a simulated exchange that sends so many trades as fast as they are taken.

    Yields:
        Its websocket address and the streams to subscribe.
    """
    arguments = ["-m", "sandbox.exchange", "--port", "0", "--firehose", str(messages)]
    process = subprocess.Popen(pinned(arguments, core), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.rsplit(" ", 1)[-1].strip()
        with urllib.request.urlopen(f"{url}/sim/status", timeout=30) as answer:  # noqa: S310 # our own
            status = json.load(answer)
        streams = [f"{symbol.lower()}@trade" for symbol in status["symbols"]]
        yield url.replace("http://", "ws://"), streams
    finally:
        process.terminate()
        process.wait(30)
