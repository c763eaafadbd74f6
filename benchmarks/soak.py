"""Memory of every process over time at a steady rate, and the ledger at the end of it.

`python -m benchmarks --only soak --seconds 7200`; not part of `make bench` unless asked for. The
simulated BigQuery keeps its tables on disk, because a warehouse may grow and the others may not.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.whole_sandbox import drain, forget_auditor, platform_in, sandbox, state_of
from sandbox.probes import post_json
from sandbox.state import State

_SAMPLE_SECONDS: Final = 10.0


def measure(seconds: int, rate: int = 5_000) -> list[dict[str, object]]:
    """Run the sandbox at `rate` trades/s, sample memory, let it drain, compare all stages.

    Returns:
        A row a process: MiB in the first and in the last tenth of the time (the first minute,
        in which everything is warming up, is left out), and at the highest; then a row of the
        ledger: trades, symbols, and the first inequality if there is one.

    Raises:
        TimeoutError: the stages did not drain; the text has what was missing.
    """
    with sandbox(
        *("--rate", str(rate), "--channels", "trade", "--pubsub", "embedded"),
        *("--tables", "disk", "--no-airflow"),
    ) as environment:
        os.environ.update(environment)
        home = Path(environment["SANDBOX_HOME"])
        forget_auditor()
        samples: dict[str, list[float]] = defaultdict(list)
        for state in _states(home, seconds):
            for service in state.services:
                if service.address:
                    samples[service.name].append(service.resident_bytes / 2**20)
        return [
            *({"process": name, **_tenths(found)} for name, found in samples.items()),
            {"process": "ledger", **_ledger(home)},
        ]


def _states(home: Path, seconds: int) -> Iterator[State]:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(min(_SAMPLE_SECONDS, seconds - passed))
        yield state_of(home)


def _tenths(samples: list[float]) -> dict[str, object]:
    warm = samples[int(60 / _SAMPLE_SECONDS) :] or samples
    tenth = max(1, len(warm) // 10)
    return {
        "mib_first_tenth": sum(warm[:tenth]) / tenth,
        "mib_last_tenth": sum(warm[-tenth:]) / tenth,
        "mib_max": max(samples),
        "found": "",
    }


def _ledger(home: Path) -> dict[str, object]:
    warnings.simplefilter("ignore", FutureWarning)  # Google's on our Python, once per library
    from sandbox.equality import compare_stages

    state = state_of(home)
    platform = platform_in(home)
    post_json(f"{platform.exchange_url}/sim/pause", {})
    drained = drain(platform)
    lines, problems = compare_stages(platform)
    print("\n".join([*lines, *problems]), file=sys.stderr)
    restarts = sum(service.restarts for service in state.services)
    return {
        "mib_first_tenth": "",
        "mib_last_tenth": "",
        "mib_max": "",
        "found": (problems or [f"all stages equal, {drained}, {restarts} restarts"])[0],
    }
