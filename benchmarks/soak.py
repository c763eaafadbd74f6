"""Collector's memory over time at a steady rate; not part of `make bench` unless asked for.

`python -m benchmarks --only soak --seconds 600`
"""

from __future__ import annotations

import time

import psutil

from benchmarks.tools import sandbox

_SAMPLE_SECONDS = 10.0


def measure(seconds: int, rate: int = 20_000) -> list[dict[str, object]]:
    """Run the sandbox at `rate` trades/s and sample the collector's resident memory."""
    with sandbox(
        "--rate", str(rate), "--channels", "trade", "--transport", "picows"
    ) as environment:
        port = int(environment["ADDRESS_COLLECTOR"].rsplit(":", 1)[1])
        collector = _listener(port)
        samples = []
        for _ in range(int(seconds / _SAMPLE_SECONDS)):
            time.sleep(_SAMPLE_SECONDS)
            samples.append(collector.memory_info().rss / 2**20)
    tenth = max(1, len(samples) // 10)
    return [
        {
            "rate": rate,
            "seconds": seconds,
            "mib_first_tenth": sum(samples[:tenth]) / tenth,
            "mib_last_tenth": sum(samples[-tenth:]) / tenth,
            "mib_max": max(samples),
        }
    ]


def _listener(port: int) -> psutil.Process:
    for connection in psutil.net_connections("tcp"):
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            return psutil.Process(connection.pid)
    raise LookupError(f"nobody listens on port {port}")
