"""Settings of the collector: one frozen class, read once, all mistakes reported together."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from market_data.channels import CHANNELS, channel_of

T = TypeVar("T")

TRANSPORTS: Final = ("websockets", "picows")
CONTROL_TOTALS: Final = ("ids", "full")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
_USER_PART: Final = re.compile(r"//[^/@]*@")
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_TOPIC: Final = re.compile(r"[A-Za-z][A-Za-z0-9._~%+-]{2,254}")
_PROJECT: Final = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")


class SettingsError(ValueError):
    """One or more settings are wrong; the text has a line for each."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the collector can be told; docs/configuration.md lists every variable.

    Attributes:
        ws_url: base of the websocket endpoint, without a path.
        rest_url: base of the REST endpoint, without a path.
        symbols: symbols to collect; empty for all TRADING symbols of `quote_assets`.
        quote_assets: quote assets whose symbols are collected; ("*",) for all.
        channels: stream suffixes such as trade or kline_1m.
        collector_id: unique among collectors that run at the same time.
        transport: websockets or picows.
        frame_age_ms: a frame is closed when its first line is this old.
        frame_lines: a frame is closed at this many lines.
        frame_bytes: a frame is closed at this many bytes before compression.
        control_totals: ids counts ids per symbol; full also sums quantities.
        spool_dir: folder of the spool.
        spool_max_bytes: messages are dropped when the spool holds this much.
        heal_max_ids: missing ids beyond so many are left to repair_gaps; 0 leaves all.
        heal_after_ms: how long missing ids may come by themselves before REST is asked.
        exchange_info_seconds: exchangeInfo is asked again so often, and the symbols followed.
        streams_per_connection: at most 1,024 (Binance's limit).
        rotate_seconds: a connection is replaced before it is this old.
        silence_seconds: a connection that delivers nothing for so long is replaced.
        drain_seconds: how long SIGTERM waits for Pub/Sub to acknowledge.
        http_host: address of /healthz, /metrics and /ledger.
        http_port: port of the same; 0 picks one.
        pubsub_project: project of the topic.
        pubsub_topic: id of the topic.
        log_level: DEBUG, INFO, WARNING or ERROR.
    """

    ws_url: str = "wss://data-stream.binance.vision"
    rest_url: str = "https://api.binance.com"
    symbols: tuple[str, ...] = ()
    quote_assets: tuple[str, ...] = ("USDT",)
    channels: tuple[str, ...] = ("trade", "aggTrade", "kline_1m")
    collector_id: str = "collector-1"
    transport: str = "websockets"
    frame_age_ms: int = 250
    frame_lines: int = 4000
    frame_bytes: int = 1_000_000
    control_totals: str = "ids"
    spool_dir: Path = field(default_factory=lambda: Path(".spool"))
    spool_max_bytes: int = 10 * 1024**3
    heal_max_ids: int = 1_000_000
    heal_after_ms: int = 1000
    exchange_info_seconds: int = 300
    streams_per_connection: int = 1024
    rotate_seconds: int = 82_800
    silence_seconds: int = 60
    drain_seconds: int = 20
    http_host: str = "127.0.0.1"
    http_port: int = 8080
    pubsub_project: str = "crypto-local"
    pubsub_topic: str = "binance-frames"
    log_level: str = "INFO"

    @property
    def market(self) -> str:
        """Market of the endpoints; only the spot market is supported so far."""
        return "spot"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables.

    Raises:
        SettingsError: naming every variable that is wrong, its value and the remedy.
    """
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for name, variable in VARIABLES.items():
        text = environment.get(variable.name, "").strip()
        if not text:
            continue
        try:
            values[name] = variable.parse(text)
        except ValueError as error:
            shown = _USER_PART.sub("//***@", text)
            mistakes.append(f"{variable.name}: {error}, was {shown!r}; {variable.remedy}")
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return Settings(**values)


def describe(settings: Settings) -> dict[str, str]:
    """Return the settings by variable for the log; URLs lose their user part."""
    values = {variable.name: getattr(settings, name) for name, variable in VARIABLES.items()}
    return {
        name: ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in values.items()
    }


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable: its name, how it is read, what to write into it."""

    name: str
    parse: Callable[[str], Any]
    remedy: str


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.hostname or parts.username:
            raise ValueError(f"expected a {' or '.join(schemes)} address without user and path")
        if parts.path not in ("", "/") or parts.query:
            raise ValueError("expected an address without a path")
        return text.rstrip("/")

    return parse


def _names(pattern: Callable[[str], bool], example: str) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        wrong = [name for name in names if not pattern(name)]
        if wrong or not names:
            raise ValueError(f"expected names like {example} separated by commas")
        return names

    return parse


def _is_symbol(name: str) -> bool:
    return name.isalnum() and name == name.upper() and len(name) <= 32


def _is_quote_asset(name: str) -> bool:
    return name == "*" or _is_symbol(name)


def _is_channel(name: str) -> bool:
    return channel_of(f"x@{name}") in CHANNELS and channel_of(f"x@{name}") != "other"


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
            raise ValueError(f"expected a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text

    return parse


def _like(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"expected {what}")
        return text

    return parse


VARIABLES: Final[dict[str, Variable]] = {
    "ws_url": Variable(
        "BINANCE_WS_URL", _url("ws", "wss"), "write wss://data-stream.binance.vision"
    ),
    "rest_url": Variable(
        "BINANCE_REST_URL", _url("http", "https"), "write https://api.binance.com"
    ),
    "symbols": Variable("BINANCE_SYMBOLS", _names(_is_symbol, "BTCUSDT"), "write BTCUSDT,ETHUSDT"),
    "quote_assets": Variable(
        "BINANCE_QUOTE_ASSETS", _names(_is_quote_asset, "USDT"), "write USDT,BTC or *"
    ),
    "channels": Variable(
        "BINANCE_CHANNELS", _names(_is_channel, "trade or kline_1m"), "write trade,kline_1m"
    ),
    "collector_id": Variable(
        "COLLECTOR_ID",
        _like(_ID, "up to 63 lower-case letters, digits and hyphens"),
        "write collector-1",
    ),
    "transport": Variable("COLLECTOR_TRANSPORT", _one_of(TRANSPORTS), "write websockets"),
    "frame_age_ms": Variable("COLLECTOR_FRAME_AGE_MS", _whole(1, 60_000), "write 250"),
    "frame_lines": Variable("COLLECTOR_FRAME_LINES", _whole(1, 20_000), "write 4000"),
    "frame_bytes": Variable("COLLECTOR_FRAME_BYTES", _whole(1_000, 8_000_000), "write 1000000"),
    "control_totals": Variable("COLLECTOR_CONTROL_TOTALS", _one_of(CONTROL_TOTALS), "write ids"),
    "spool_dir": Variable("COLLECTOR_SPOOL_DIR", Path, "write a folder"),
    "spool_max_bytes": Variable(
        "COLLECTOR_SPOOL_MAX_BYTES", _whole(1_000_000, 10**13), "write 10737418240"
    ),
    "heal_max_ids": Variable("COLLECTOR_HEAL_MAX_IDS", _whole(0, 10**9), "write 1000000"),
    "heal_after_ms": Variable("COLLECTOR_HEAL_AFTER_MS", _whole(0, 600_000), "write 1000"),
    "exchange_info_seconds": Variable(
        "COLLECTOR_EXCHANGE_INFO_SECONDS", _whole(1, 86_400), "write 300"
    ),
    "streams_per_connection": Variable(
        "COLLECTOR_STREAMS_PER_CONNECTION", _whole(1, 1024), "write 1024"
    ),
    "rotate_seconds": Variable("COLLECTOR_ROTATE_SECONDS", _whole(1, 86_000), "write 82800"),
    "silence_seconds": Variable("COLLECTOR_SILENCE_SECONDS", _whole(1, 3600), "write 60"),
    "drain_seconds": Variable("COLLECTOR_DRAIN_SECONDS", _whole(1, 600), "write 20"),
    "http_host": Variable("COLLECTOR_HTTP_HOST", str, "write 127.0.0.1"),
    "http_port": Variable("COLLECTOR_HTTP_PORT", _whole(0, 65_535), "write 8080"),
    "pubsub_project": Variable(
        "PUBSUB_PROJECT", _like(_PROJECT, "a project id of 6 to 30 characters"), "write my-project"
    ),
    "pubsub_topic": Variable(
        "PUBSUB_TOPIC", _like(_TOPIC, "a topic id of 3 to 255 characters"), "write binance-frames"
    ),
    "log_level": Variable("COLLECTOR_LOG_LEVEL", _one_of(LOG_LEVELS), "write INFO"),
}

if {setting.name for setting in dataclasses.fields(Settings)} != VARIABLES.keys():
    raise AssertionError("every setting needs a variable and every variable a setting")
