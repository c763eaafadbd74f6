"""`python -m sandbox.certify`: certify a platform that others run, such as the compose file's.

The market closes, all that is under way arrives, Airflow runs the last DAGs over the complete data,
then the certificate is printed. Exit codes: 0 COMPLETE, 1 not, 2 a variable is missing.
Addresses come from the environment: `ADDRESSES` names them.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console

from sandbox.airflow.dags import CLOSING, Dags
from sandbox.airflow.rest import Airflow, AirflowError
from sandbox.closing import close_market, drain
from sandbox.progress import Progress, Reader
from sandbox.settings import AUDIT_SUBSCRIPTION, BUCKET, JOB_SUBSCRIPTION, PROJECT, TOPIC, Platform

ADDRESSES: Final = {
    "PUBSUB_EMULATOR_HOST": "HOST:PORT of Pub/Sub",
    "STORAGE_EMULATOR_HOST": "URL of Cloud Storage",
    "BIGQUERY_EMULATOR_HOST": "URL of BigQuery",
    "BIGQUERY_WRITE_EMULATOR_HOST": "HOST:PORT of BigQuery's Storage API",
    "EXCHANGE_URL": "URL of the simulated exchange",
    "COLLECTOR_URL": "URL of the collectors: each address of its name is one",
    "JOB_URL": "URL of the Beam job",
    "AIRFLOW_URL": "URL of Airflow",
    "AIRFLOW_PASSWORD": "password of Airflow's user admin",
}
_TICK_SECONDS: Final = 1.0
_COLUMNS: Final = 140  # of a log or a pipe; the certificate's widest table fits


def platform_from(environment: Mapping[str, str], began: datetime) -> Platform:
    """Return the platform at the addresses of an environment.

    Args:
        environment: has `ADDRESSES`.
        began: when it was first looked at.

    Raises:
        OSError: the collectors' name has no address.
    """
    collectors = addresses_of(environment["COLLECTOR_URL"])
    return Platform(
        project=PROJECT,
        pubsub_host=environment["PUBSUB_EMULATOR_HOST"],
        gcs_url=environment["STORAGE_EMULATOR_HOST"],
        bigquery_url=environment["BIGQUERY_EMULATOR_HOST"],
        bigquery_grpc=environment["BIGQUERY_WRITE_EMULATOR_HOST"],
        exchange_url=environment["EXCHANGE_URL"],
        collector_url=collectors[0],
        collector_urls=collectors,
        job_url=environment["JOB_URL"],
        bucket=BUCKET,
        topic=TOPIC,
        job_subscription=JOB_SUBSCRIPTION,
        audit_subscription=AUDIT_SUBSCRIPTION,
        dbt_dir=Path("dbt"),  # Airflow's
        home=Path(),
        started_at=began,
        ready_seconds=0.0,
        peak_memory=dict,
    )


def addresses_of(url: str) -> tuple[str, ...]:
    """Return the URLs of all hosts that a name stands for, as those of a scaled service.

    Raises:
        OSError: it has no address.
    """
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port, socket.AF_INET, socket.SOCK_STREAM)
    hosts = sorted({str(each[4][0]) for each in found})
    return tuple(f"{parts.scheme}://{host}:{parts.port}" for host in hosts)


def main() -> int:
    """Certify; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.certify", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0, help="let the market trade so long")
    parser.add_argument("--json", type=Path, help="write the certificate here too")
    options = parser.parse_args()
    missing = [name for name in ADDRESSES if not os.environ.get(name)]
    for name in missing:
        print(f"{name} is not set: {ADDRESSES[name]}", file=sys.stderr)
    return 2 if missing else _certify(options.seconds, options.json)


def _certify(seconds: float, output: Path | None) -> int:
    warnings.simplefilter("ignore", FutureWarning)  # Google's on our Python, once per library
    from sandbox.certificate import collect, render

    began = datetime.now(UTC)
    platform = platform_from(os.environ, began)
    exchange_url = str(platform.exchange_url)
    console = Console(width=None if sys.stdout.isatty() else _COLUMNS)
    reader = Reader(platform)
    said: set[str] = set()

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    def tick(note: str, *, exactly: bool = False) -> Progress:
        progress = reader.read(exactly=exactly)
        kind = note.partition(" in ")[0]  # "closing klines in 9 s" is told once
        if kind not in said:
            said.add(kind)
            say(
                f"{note}: {progress.received:,} received, {progress.loaded:,} loaded,"
                f" {progress.objects:,} archive objects"
            )
        time.sleep(_TICK_SECONDS)
        return progress

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        tick("the market is open")
    close_market(exchange_url, tick)
    drain(tick, say)
    dags = Dags(Airflow(os.environ["AIRFLOW_URL"], lambda: os.environ["AIRFLOW_PASSWORD"]))
    try:
        dags.finish(CLOSING, tick, say)
    except AirflowError as error:
        say(f"Airflow: {error}")
    certificate = collect(platform)
    render(certificate, console)
    if output is not None:
        output.write_text(json.dumps(certificate, indent=2) + "\n", "utf-8")
    return 0 if certificate["verdict"] == "COMPLETE" else 1


if __name__ == "__main__":
    sys.exit(main())
