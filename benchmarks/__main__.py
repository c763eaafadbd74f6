"""`python -m benchmarks`: measure every stage and print one table a stage.

`--quick` measures a tenth of the messages; `--only NAME,NAME` some stages; `--json FILE` writes
all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    backfill,
    compact,
    holes,
    hot_hot,
    job,
    latency,
    marts,
    outage,
    publish,
    receive,
    rotation,
    soak,
    verify,
)
from benchmarks.whole_sandbox import sandbox

Rows = list[dict[str, object]]
# All run but soak, which has to be asked for.
NAMES = (
    *(
        "receive",
        "rotation",
        "holes",
        "outage",
        "hot_hot",
        "publish",
        "job",
        "latency",
        "compact",
        "verify",
        "backfill",
        "marts",
        "soak",
    ),
)


def _publish(trades: int) -> Rows:
    with sandbox("--rate", "1", "--market-size", "1") as environment:
        return publish.measure(trades, environment)


def main() -> None:
    """Run the chosen benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages")
    parser.add_argument("--only", type=_names, help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=int, default=60, help="of latency, hot_hot, soak")
    parser.add_argument("--away", type=int, default=600, help="seconds without Pub/Sub, of outage")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    arguments = parser.parse_args()
    share = 10 if arguments.quick else 1
    stages: dict[str, Callable[[], Rows]] = {
        "receive": lambda: receive.measure(3_000_000 // share),
        "holes": lambda: holes.measure(60 // share),
        "outage": lambda: outage.measure(arguments.away // share),
        "hot_hot": lambda: hot_hot.measure(arguments.seconds),
        "rotation": lambda: rotation.measure(200 // share),
        "publish": lambda: _publish(2_000_000 // share),
        "job": lambda: job.measure(2_000_000 // share),
        "latency": lambda: latency.measure(arguments.seconds),
        "compact": lambda: compact.measure(3_000_000 // share),
        "verify": lambda: verify.measure(50_000_000 // share),
        "backfill": lambda: backfill.measure(1_000_000 // share),
        "marts": lambda: marts.measure(5_000_000 // share),
        "soak": lambda: soak.measure(arguments.seconds),
    }
    chosen = arguments.only or set(NAMES) - {"soak"}
    console = Console()
    found = {}
    for name, measure in stages.items():
        if name in chosen:
            found[name] = measure()
            console.print(_table(name, found[name]))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def _names(text: str) -> set[str]:
    names = set(text.split(","))
    if names - set(NAMES):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(NAMES)}, was {text}")
    return names


def _table(name: str, rows: Rows) -> Table:
    table = Table(title=name, title_justify="left")
    for heading in rows[0]:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
