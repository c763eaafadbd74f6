"""What the benchmarks share: pinned processes and the firehose."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def pinned(arguments: Sequence[str], core: int) -> list[str]:
    """Return the command of a Python process that runs on one core."""
    return ["taskset", "-c", str(core % (os.cpu_count() or 1)), sys.executable, *arguments]


def peak_mib() -> float:
    """Return the most memory that this process has had, in MiB.

    Not ru_maxrss, which begins with the size of the process that started this one.
    """
    status = Path("/proc/self/status").read_text("ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


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
    with exchange("--firehose", str(messages), core=core) as url:
        with urllib.request.urlopen(f"{url}/sim/status", timeout=30) as answer:  # noqa: S310 # our own
            status = json.load(answer)
        streams = [f"{symbol.lower()}@trade" for symbol in status["symbols"]]
        yield url.replace("http://", "ws://"), streams


@contextlib.contextmanager
def exchange(*arguments: str, core: int) -> Iterator[str]:
    """Run a simulated exchange on one core and yield its address."""
    command = pinned(["-m", "sandbox.exchange", "--port", "0", *arguments], core)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().rsplit(" ", 1)[-1].strip()
    finally:
        process.terminate()
        process.wait(30)


def made_up_trades(count: int, *, symbols: int = 200, seed: int = 7) -> list[bytes]:
    """Return combined-stream trade messages: Zipf over the symbols, ids consecutive per symbol."""
    chance = random.Random(seed)
    names = [f"SYM{number}USDT" for number in range(symbols)]
    weights = [1 / (rank + 1) ** 1.05 for rank in range(symbols)]
    ids = [1_000_000_000] * symbols
    now = time.time_ns() // 1_000_000
    messages = []
    for number, symbol in enumerate(chance.choices(range(symbols), weights, k=count)):
        ids[symbol] += 1
        name, trade_time = names[symbol], now + number // 100
        messages.append(
            b'{"stream":"%s@trade","data":{"e":"trade","E":%d,"s":"%s","t":%d,"p":"%d.%02d000000",'
            b'"q":"%d.%05d000","T":%d,"m":%s,"M":true}}'
            % (
                name.lower().encode(),
                trade_time + 1,
                name.encode(),
                ids[symbol],
                61_000 + chance.randrange(10),
                chance.randrange(100),
                chance.randrange(3),
                chance.randrange(1, 100_000),
                trade_time,
                chance.choice((b"true", b"false")),
            )
        )
    return messages
