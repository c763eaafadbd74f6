"""The services of the sandbox: which processes, with which arguments, in which order.

`build_services` turns settings into the list that `sandbox.supervisor` runs. Real components
throughout: what differs from the cloud is the addresses. Start order is list order; the reverse,
collector first, is the stop order, so that what was received can still flow off.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sandbox.airflow.environment import HOME_FOLDER, airflow_environment
from sandbox.airflow.rest import health_probe
from sandbox.gcs import gcs_command
from sandbox.probes import all_of, get, grpc_probe, http_probe
from sandbox.pubsub.google import find_google_emulator
from sandbox.settings import (
    BUCKET,
    DISK,
    HOST,
    JOB_SUBSCRIPTION,
    LIVE,
    LIVE_REST_URL,
    LIVE_WS_URL,
    LOCATION,
    ON,
    PROJECT,
    RECORDING,
    ROOT,
    TOPIC,
    Ports,
    Settings,
    SettingsError,
)
from sandbox.supervisor import Port, Service

# Data of a run, below its home; removed for a run that wants to start afresh.
PUBSUB_FOLDER: Final = "pubsub"
GCS_FOLDER: Final = "gcs"
BIGQUERY_FOLDER: Final = "bigquery"
SPOOL_FOLDER: Final = "spool"
SPOOL_2_FOLDER: Final = "spool-2"
DATA_FOLDERS: Final = (
    *(PUBSUB_FOLDER, GCS_FOLDER, BIGQUERY_FOLDER),
    *(SPOOL_FOLDER, SPOOL_2_FOLDER, HOME_FOLDER),
)
BIGQUERY_HOME: Final = "bigquery-home"  # DuckDB's extension; costs a second to make anew

# The end of a demo waits for the last object; the job's default of a minute is for a real bucket.
ARCHIVE_SECONDS: Final = 10

# How a run-up begins, before the day it covers, and how busy it is: trades a market second.
_EVENING: Final = timedelta(hours=3)
_CALM_RATE: Final = 0.5

LIVE_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT")


def build_services(settings: Settings, environment: Mapping[str, str]) -> list[Service]:
    """Return the services in start order.

    Args:
        settings: the run's settings.
        environment: the user's environment; services get it with the addresses added.

    Raises:
        SettingsError: a component that the settings ask for is not installed.
    """
    base = service_environment(settings, environment)
    services = [
        _pubsub(settings, base),
        _gcs(settings, base),
        _bigquery(settings, base),
        Service(
            name="provision",
            command=(sys.executable, "-m", "sandbox.provision"),
            environment=base,
            after=("pubsub", "gcs", "bigquery"),
        ),
    ]
    if settings.exchange != LIVE:
        services.append(_exchange(settings, base))
    services.append(_job(settings, base))
    services += [_collector(settings, base, 1 + each) for each in range(settings.collectors)]
    if settings.airflow == ON:
        services.append(_airflow(settings, base))
    return services


def service_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the user's environment with the addresses added, loopback never through a proxy."""
    loopback = f"{HOST},localhost"
    inherited = environment.get("NO_PROXY") or environment.get("no_proxy")
    no_proxy = f"{inherited},{loopback}" if inherited else loopback
    return {
        **environment,
        **settings.client_environment,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning",  # Google's on our Python, once per library
    }


def _port(settings: Settings, name: str) -> Port:
    return Port(getattr(settings.ports, name), Ports.setting(name))


def _pubsub(settings: Settings, base: Mapping[str, str]) -> Service:
    port, admin = _port(settings, "pubsub"), _port(settings, "pubsub_admin")
    google = _google_pubsub(settings, base)
    embedded = (
        *(sys.executable, "-m", "sandbox.pubsub", "--host", HOST),
        *("--port", str(port.number), "--admin-port", str(admin.number)),
        *("--journal", str(settings.home / PUBSUB_FOLDER / "journal.db")),
    )
    return Service(
        name="pubsub",
        command=google or embedded,
        environment=base,
        probe=grpc_probe(HOST, port.number),
        ports=(port,) if google else (port, admin),
        address=settings.pubsub_host,
    )


def _google_pubsub(settings: Settings, base: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command of Google's emulator, empty when the embedded one is to be used."""
    if settings.pubsub == "embedded":
        return ()
    try:
        emulator = find_google_emulator(base)
    except FileNotFoundError as error:
        raise SettingsError(str(error)) from None
    if emulator is not None:
        return (*emulator, f"--host={HOST}", f"--port={settings.ports.pubsub}")
    if settings.pubsub == "google":
        raise SettingsError(
            "SANDBOX_PUBSUB: google was asked for, but Java and Google's emulator were not found; "
            "install Java 17 and google-cloud-cli-pubsub-emulator, or use auto or embedded"
        )
    return ()


def _gcs(settings: Settings, base: Mapping[str, str]) -> Service:
    port, root = _port(settings, "gcs"), settings.home / GCS_FOLDER
    root.mkdir(parents=True, exist_ok=True)
    return Service(
        name="gcs",
        command=gcs_command(root, HOST, port.number, settings.gcs_url, f"{HOST}:{port.number}"),
        environment=base,
        probe=http_probe(f"{settings.gcs_url}/storage/v1/b?project={PROJECT}"),
        ports=(port,),
        address=settings.gcs_url,
    )


def _bigquery(settings: Settings, base: Mapping[str, str]) -> Service:
    port, grpc_port = _port(settings, "bigquery"), _port(settings, "bigquery_grpc")
    python = settings.emulators / "bin" / "python"
    if not python.exists():
        raise SettingsError(
            f"SANDBOX_EMULATORS: expected an environment with bqemulator, there is no {python}; "
            "run `make setup`"
        )
    return Service(
        name="bigquery",
        command=(
            *(str(python), str(ROOT / "sandbox" / "bigquery" / "launcher.py")),
            *("--home", str(settings.home / BIGQUERY_HOME), "--project", PROJECT),
            *("--rest-port", str(port.number), "--grpc-port", str(grpc_port.number)),
            *("--gcs-root", str(settings.home / GCS_FOLDER)),
            *(
                ("--data-dir", str(settings.home / BIGQUERY_FOLDER))
                if settings.tables == DISK
                else ()
            ),
        ),
        environment=base,
        probe=all_of(
            http_probe(f"{settings.bigquery_url}/bigquery/v2/projects/{PROJECT}/datasets"),
            grpc_probe(HOST, grpc_port.number),
        ),
        ports=(port, grpc_port),
        address=f"{settings.bigquery_url} and {settings.bigquery_grpc} (gRPC)",
    )


def run_up_from(now: datetime) -> datetime:
    """Return where a run-up begins: before a whole day that ended hours ago.

    A symbol's day is proven from its last trade before midnight to its first one after; the
    calmest trade hourly.
    """
    last_midnight = (now - _EVENING).replace(hour=0, minute=0, second=0, microsecond=0)
    return last_midnight - timedelta(days=1) - _EVENING


def _exchange(settings: Settings, base: Mapping[str, str]) -> Service:
    port = _port(settings, "exchange")
    arguments = ["--host", HOST, "--port", str(port.number), "--mode", settings.exchange]
    if settings.exchange == RECORDING:
        for path in settings.recordings:
            arguments += ["--recording", str(path)]
    else:
        arguments += ["--seed", str(settings.seed), "--rate", str(settings.rate)]
        arguments += ["--speed", str(settings.speed), "--symbols", str(settings.market_size)]
        if settings.run_up:
            start = run_up_from(datetime.now(UTC)).isoformat()
            arguments += ["--start", start, "--calm-rate", str(_CALM_RATE)]
    return Service(
        name="exchange",
        command=(sys.executable, "-m", "sandbox.exchange", *arguments),
        environment=base,
        probe=http_probe(f"{settings.exchange_url}/sim/status"),
        ports=(port,),
        address=settings.exchange_url or "",
    )


def _job(settings: Settings, base: Mapping[str, str]) -> Service:
    port = _port(settings, "job")
    return Service(
        name="job",
        command=(
            *(sys.executable, "-m", "beam_jobs.stream_trades"),
            *("--runner=DirectRunner", "--streaming", f"--project={PROJECT}"),
            f"--subscription=projects/{PROJECT}/subscriptions/{JOB_SUBSCRIPTION}",
            f"--archive=gs://{BUCKET}",
            f"--dataset_location={LOCATION}",
            f"--health_port={port.number}",
            f"--archive_seconds={ARCHIVE_SECONDS}",
        ),
        environment=base,
        after=("provision",),
        probe=http_probe(f"{settings.job_url}/healthz"),
        ports=(port,),
        address=settings.job_url,
        deadline_seconds=90.0,
    )


def _collector(settings: Settings, base: Mapping[str, str], number: int) -> Service:
    port = _port(settings, "collector" if number == 1 else "second_collector")
    url = settings.collector_urls[number - 1]
    return Service(
        name="collector" if number == 1 else f"collector-{number}",
        command=(sys.executable, "-m", "collector"),
        environment={**base, **collector_environment(settings, number)},
        after=("provision", "job")
        if settings.exchange == LIVE
        else ("provision", "exchange", "job"),
        probe=http_probe(f"{url}/healthz"),
        ports=(port,),
        address=url,
        grace_seconds=25.0,  # COLLECTOR_DRAIN_SECONDS and a little
        late_environment=_announcement(settings) if settings.exchange == RECORDING else None,
    )


def collector_environment(settings: Settings, number: int = 1) -> dict[str, str]:
    """Return a collector's settings; live differs in addresses and chosen symbols only."""
    live = settings.exchange == LIVE
    symbols = settings.symbols or (LIVE_SYMBOLS if live else ())
    first = number == 1
    return {
        "BINANCE_WS_URL": LIVE_WS_URL if live else f"ws://{HOST}:{settings.ports.exchange}",
        "BINANCE_REST_URL": LIVE_REST_URL if live else f"http://{HOST}:{settings.ports.exchange}",
        "BINANCE_SYMBOLS": ",".join(symbols),
        "BINANCE_QUOTE_ASSETS": "*",
        "BINANCE_CHANNELS": ",".join(settings.channels),
        "COLLECTOR_ID": "sandbox" if first else f"sandbox-{number}",
        "COLLECTOR_TRANSPORT": settings.transport,
        "COLLECTOR_CONTROL_TOTALS": "full",
        "COLLECTOR_SPOOL_DIR": str(settings.home / (SPOOL_FOLDER if first else SPOOL_2_FOLDER)),
        "COLLECTOR_HTTP_HOST": HOST,
        "COLLECTOR_HTTP_PORT": str(
            settings.ports.collector if first else settings.ports.second_collector
        ),
        "PUBSUB_PROJECT": PROJECT,
        "PUBSUB_TOPIC": TOPIC,
    }


def _airflow(settings: Settings, base: Mapping[str, str]) -> Service:
    """Return Airflow, last: it watches the others, and it need not see them end."""
    return Service(
        name="airflow",
        command=(sys.executable, "-m", "sandbox.airflow"),
        environment={**base, **airflow_environment(settings)},
        after=("provision",),
        # The first call of the interface that tasks use makes it, for seconds: before any task.
        probe=all_of(
            health_probe(settings.airflow_url),
            http_probe(f"{settings.airflow_url}/execution/health"),
        ),
        ports=(_port(settings, "airflow"),),
        address=settings.airflow_url,
        deadline_seconds=240.0,  # four programs whose imports alone take seconds of processor time
    )


def _announcement(settings: Settings) -> Callable[[], Mapping[str, str]]:
    url = f"{settings.exchange_url}/sim/status"

    def ask() -> Mapping[str, str]:
        status, body = get(url)
        if status != 200:
            raise ValueError(f"{url}: HTTP {status}")
        return announced_environment(json.loads(body))

    return ask


def announced_environment(status: Mapping[str, Any]) -> dict[str, str]:
    """Return what to subscribe to, from what the exchange says that its recording holds.

    Raises:
        ValueError: the recording holds nothing to subscribe to.
    """
    symbols, channels = status.get("symbols") or [], status.get("channels") or []
    if not symbols or not channels:
        raise ValueError("the recordings hold no stream of any symbol; nothing to replay")
    return {"BINANCE_SYMBOLS": ",".join(symbols), "BINANCE_CHANNELS": ",".join(channels)}


def user_environment() -> dict[str, str]:
    """Return the environment of this process without what belongs to one service alone."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BINANCE_", "SANDBOX_"))
    }
