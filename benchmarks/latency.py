"""Exchange to queryable row at 1,000 trades/s, with default settings."""

from __future__ import annotations

import time

from benchmarks.publish import PROJECT
from benchmarks.tools import sandbox
from sandbox.certificate.latency import percentiles
from sandbox.warehouse import Warehouse


def measure(seconds: int) -> list[dict[str, object]]:
    """Run the sandbox so long and read the latency of each stage off the rows."""
    with sandbox("--rate", "1000") as environment:
        time.sleep(seconds)
        with Warehouse(PROJECT, environment["BIGQUERY_EMULATOR_HOST"]) as warehouse:
            found = percentiles(warehouse, environment["ADDRESS_EXCHANGE"])
    return [{"stage": stage, **(values or {})} for stage, values in found.items()]
