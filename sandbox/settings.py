"""Settings of the sandbox: names, ports and choices, read once; and where a running one is found.

Each setting is a flag of `python -m sandbox` and an environment variable `SANDBOX_*`
(`.env.example` lists them); the flag wins. `Platform` is what a running sandbox hands to everyone
who wants to look at it: the certificate, the view, tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from sandbox.probes import free_ports

ROOT: Final = Path(__file__).parents[1]
HOST: Final = "127.0.0.1"
PROJECT: Final = "crypto-local"
TOPIC: Final = "binance-frames"
JOB_SUBSCRIPTION: Final = "binance-frames-job"
AUDIT_SUBSCRIPTION: Final = "binance-frames-audit"
BUCKET: Final = "crypto-local-archive"
LOCATION: Final = "US"

SIMULATED, RECORDING, LIVE = "simulated", "recording", "live"
EXCHANGES: Final = (SIMULATED, RECORDING, LIVE)
PUBSUB_CHOICES: Final = ("auto", "google", "embedded")
TRANSPORTS: Final = ("websockets", "picows")
MEMORY: Final = "memory"
DISK: Final = "disk"
TABLE_PLACES: Final = (MEMORY, DISK)
ON: Final = "on"
OFF: Final = "off"

# No account is needed; this REST address has historicalTrades, which healing needs.
LIVE_WS_URL: Final = "wss://data-stream.binance.vision"
LIVE_REST_URL: Final = "https://api.binance.com"


class SettingsError(ValueError):
    """All mistakes in the settings, one a line."""


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on 127.0.0.1. The defaults are the emulators' own."""

    pubsub: int = 8085
    pubsub_admin: int = 8086
    gcs: int = 4443
    bigquery: int = 9050
    bigquery_grpc: int = 9060
    exchange: int = 9443
    collector: int = 8082
    second_collector: int = 8083
    job: int = 8081
    airflow: int = 8080

    @staticmethod
    def setting(name: str) -> str:
        """Return the environment variable of a port."""
        return f"SANDBOX_{name.upper()}_PORT"

    @classmethod
    def free(cls) -> Self:
        """Return ports that are free right now."""
        names = [port.name for port in fields(cls)]
        return cls(**dict(zip(names, free_ports(HOST, len(names)), strict=True)))


@dataclass(frozen=True, slots=True)
class Settings:
    """One run of the sandbox.

    Attributes:
        home: folder of logs, state and data of this run.
        emulators: environment that carries bqemulator.
        ports: where the services listen.
        pubsub: auto (Google's emulator when found), google or embedded.
        exchange: simulated, recording or live.
        transport: the collectors' websocket client.
        collectors: 1, or 2 that follow the same symbols.
        tables: where BigQuery's tables are: memory, or disk, which keeps them over `down` and `up`
            and bounds the memory, at half the speed.
        symbols: symbols to follow; empty means all that the exchange offers, but for live, where
            a few busy ones are the default.
        market_size: number of symbols in the simulated market.
        channels: stream suffixes to subscribe to.
        rate: trades a second of the simulated market.
        speed: how much faster than the wall's the simulated exchange's clock runs.
        run_up: seconds that `demo` takes for the market's day before: its clock starts the evening
            before that day and hurries through it, calmly trading; 0 for none.
        seed: of the simulated market.
        airflow: on or off; with it the DAGs of `dags/` run, off is light.
        recordings: files to serve with `recording`.
    """

    home: Path = ROOT / ".sandbox"
    emulators: Path = ROOT / ".sandbox" / "emulators"
    ports: Ports = field(default_factory=Ports)
    pubsub: str = "auto"
    exchange: str = SIMULATED
    transport: str = "websockets"
    collectors: int = 1
    tables: str = MEMORY
    symbols: tuple[str, ...] = ()
    market_size: int = 50
    channels: tuple[str, ...] = (
        *("trade", "aggTrade", "bookTicker"),
        *("kline_1m", "kline_5m", "kline_15m", "kline_1h", "kline_4h", "kline_1d"),
    )
    rate: int = 1000
    speed: float = 1.0
    run_up: int = 0
    seed: int = 1
    airflow: str = ON
    recordings: tuple[Path, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The settings as JSON."""
        document = asdict(self)
        document["home"], document["emulators"] = str(self.home), str(self.emulators)
        document["recordings"] = [str(path) for path in self.recordings]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what `document` wrote."""
        return cls(
            **{
                **document,
                "home": Path(document["home"]),
                "emulators": Path(document["emulators"]),
                "ports": Ports(**document["ports"]),
                "symbols": tuple(document["symbols"]),
                "channels": tuple(document["channels"]),
                "recordings": tuple(Path(path) for path in document["recordings"]),
            }
        )

    @property
    def pubsub_host(self) -> str:
        """`PUBSUB_EMULATOR_HOST`."""
        return f"{HOST}:{self.ports.pubsub}"

    @property
    def gcs_url(self) -> str:
        """`STORAGE_EMULATOR_HOST`."""
        return f"http://{HOST}:{self.ports.gcs}"

    @property
    def bigquery_url(self) -> str:
        """`BIGQUERY_EMULATOR_HOST`."""
        return f"http://{HOST}:{self.ports.bigquery}"

    @property
    def bigquery_grpc(self) -> str:
        """`BIGQUERY_WRITE_EMULATOR_HOST`."""
        return f"{HOST}:{self.ports.bigquery_grpc}"

    @property
    def exchange_url(self) -> str | None:
        """The simulated Binance, None when the exchange is the real one."""
        return None if self.exchange == LIVE else f"http://{HOST}:{self.ports.exchange}"

    @property
    def collector_url(self) -> str:
        """The first collector's HTTP server."""
        return f"http://{HOST}:{self.ports.collector}"

    @property
    def collector_urls(self) -> tuple[str, ...]:
        """The collectors' HTTP servers."""
        second = f"http://{HOST}:{self.ports.second_collector}"
        return (self.collector_url, second)[: self.collectors]

    @property
    def job_url(self) -> str:
        """The Beam job's HTTP server."""
        return f"http://{HOST}:{self.ports.job}"

    @property
    def airflow_url(self) -> str:
        """Airflow's UI and REST."""
        return f"http://{HOST}:{self.ports.airflow}"

    @property
    def client_environment(self) -> dict[str, str]:
        """What ordinary clients need in their environment to find this sandbox."""
        return {
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "PUBSUB_PROJECT_ID": PROJECT,
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "STORAGE_EMULATOR_HOST": self.gcs_url,
            "BIGQUERY_EMULATOR_HOST": self.bigquery_url,
            "BIGQUERY_WRITE_EMULATOR_HOST": self.bigquery_grpc,
        }


@dataclass(frozen=True, slots=True)
class Platform:
    """A running sandbox, for those who examine it.

    Attributes:
        project: Google Cloud project id.
        pubsub_host: `host:port` of Pub/Sub.
        gcs_url: Cloud Storage.
        bigquery_url: BigQuery's REST.
        bigquery_grpc: `host:port` of BigQuery's Storage API.
        exchange_url: the simulated Binance, None for the real one.
        collector_url: the first collector's HTTP server.
        collector_urls: the HTTP servers of all of them.
        job_url: the Beam job's HTTP server.
        bucket: the archive's bucket.
        topic: topic id of the frames.
        job_subscription: subscription id that the job reads.
        audit_subscription: subscription id that gets every frame too, for an auditor.
        dbt_dir: folder of the dbt project.
        home: folder of this run's logs and data.
        started_at: start of the supervisor, UTC.
        ready_seconds: from its start until every service was ready.
        peak_memory: returns the peak resident memory in bytes by process, `total` for the highest
            sum at one time.
        reference_klines: official kline files to compare with.
    """

    project: str
    pubsub_host: str
    gcs_url: str
    bigquery_url: str
    bigquery_grpc: str
    exchange_url: str | None
    collector_url: str
    collector_urls: tuple[str, ...]
    job_url: str
    bucket: str
    topic: str
    job_subscription: str
    audit_subscription: str
    dbt_dir: Path
    home: Path
    started_at: datetime
    ready_seconds: float
    peak_memory: Callable[[], dict[str, int]]
    reference_klines: tuple[Path, ...] = ()

    @property
    def subscriptions(self) -> tuple[str, str]:
        """Both subscription ids."""
        return self.job_subscription, self.audit_subscription


def platform_of(
    settings: Settings,
    *,
    started_at: datetime,
    ready_seconds: float,
    peak_memory: Callable[[], dict[str, int]],
    reference_klines: tuple[Path, ...] = (),
) -> Platform:
    """Return the platform that a run with these settings is."""
    return Platform(
        project=PROJECT,
        pubsub_host=settings.pubsub_host,
        gcs_url=settings.gcs_url,
        bigquery_url=settings.bigquery_url,
        bigquery_grpc=settings.bigquery_grpc,
        exchange_url=settings.exchange_url,
        collector_url=settings.collector_url,
        collector_urls=settings.collector_urls,
        job_url=settings.job_url,
        bucket=BUCKET,
        topic=TOPIC,
        job_subscription=JOB_SUBSCRIPTION,
        audit_subscription=AUDIT_SUBSCRIPTION,
        dbt_dir=ROOT / "dbt",
        home=settings.home,
        started_at=started_at,
        ready_seconds=ready_seconds,
        peak_memory=peak_memory,
        reference_klines=reference_klines,
    )


# Setting -> field of Settings, for what is read as text from a flag or a variable.
_FIELDS: Final = {
    "SANDBOX_HOME": "home",
    "SANDBOX_EMULATORS": "emulators",
    "SANDBOX_PUBSUB": "pubsub",
    "SANDBOX_EXCHANGE": "exchange",
    "SANDBOX_TRANSPORT": "transport",
    "SANDBOX_COLLECTORS": "collectors",
    "SANDBOX_TABLES": "tables",
    "SANDBOX_SYMBOLS": "symbols",
    "SANDBOX_MARKET_SIZE": "market_size",
    "SANDBOX_CHANNELS": "channels",
    "SANDBOX_RATE": "rate",
    "SANDBOX_SPEED": "speed",
    "SANDBOX_RUN_UP": "run_up",
    "SANDBOX_SEED": "seed",
    "SANDBOX_AIRFLOW": "airflow",
}
PORTS_SETTING: Final = "SANDBOX_PORTS"
NAMES: Final = (*_FIELDS, PORTS_SETTING, *(Ports.setting(port.name) for port in fields(Ports)))


def read_settings(values: Mapping[str, str], recordings: tuple[Path, ...] = ()) -> Settings:
    """Read the settings from variables named `SANDBOX_*`; others are ignored.

    Raises:
        SettingsError: names every wrong setting, its value and the remedy.
    """
    mistakes: list[str] = []
    given: dict[str, Any] = {}
    for name, attribute in _FIELDS.items():
        if text := values.get(name, "").strip():
            try:
                given[attribute] = _PARSERS[attribute](text)
            except ValueError as error:
                mistakes.append(f"{name}: {error}, was {text!r}")
    ports = _read_ports(values, mistakes)
    if given.get("run_up") and given.get("speed", 1.0) != 1.0:
        mistakes.append(
            "SANDBOX_RUN_UP: a market that hurries to the wall's time keeps to it; set"
            f" SANDBOX_SPEED to 1, was {given['speed']}"
        )
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return replace(Settings(), ports=ports, recordings=recordings, **given)


def _read_ports(values: Mapping[str, str], mistakes: list[str]) -> Ports:
    choice = values.get(PORTS_SETTING, "").strip() or "fixed"
    if choice not in ("fixed", "auto"):
        mistakes.append(f"{PORTS_SETTING}: expected fixed or auto, was {choice!r}")
    given = {}
    for port in fields(Ports):
        name = Ports.setting(port.name)
        if text := values.get(name, "").strip():
            if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
                given[port.name] = int(text)
            else:
                mistakes.append(f"{name}: expected a port from 1 to 65535, was {text!r}")
    ports = replace(Ports.free() if choice == "auto" else Ports(), **given)
    numbers = asdict(ports)
    if len(set(numbers.values())) < len(numbers):
        mistakes.append(f"ports: each service needs one of its own, was {numbers}")
    return ports


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text

    return parse


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError("expected a number above 0")
    return number


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("expected a whole number")
    return int(text)


def _count(text: str) -> int:
    if (number := _whole(text)) < 1:
        raise ValueError("expected a whole number above 0")
    return number


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or any("/" in name or " " in name for name in names):
        raise ValueError("expected names separated by commas, as in BTCUSDT,ETHUSDT")
    return names


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "home": _path,
    "emulators": _path,
    "pubsub": _one_of(*PUBSUB_CHOICES),
    "exchange": _one_of(*EXCHANGES),
    "transport": _one_of(*TRANSPORTS),
    "collectors": lambda text: int(_one_of("1", "2")(text)),
    "tables": _one_of(*TABLE_PLACES),
    "symbols": _names,
    "channels": _names,
    "market_size": _count,
    "rate": _count,
    "speed": _positive,
    "run_up": _whole,
    "seed": _whole,
    "airflow": _one_of(ON, OFF),
}
