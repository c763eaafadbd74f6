"""The exchange's settings and the command line that makes them.

Called by `__main__.py`; tests build `Settings` directly.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sandbox.exchange.catalogue import MAX_INSTRUMENTS
from sandbox.exchange.limits import Limits
from sandbox.exchange.market import ORIGIN_US

# The market's past whose klines are kept: an hour, less when that were more than so many trades
# (generating them takes some 3 s a million at start).
_HISTORY_S = 3600
_HISTORY_TRADES = 720_000
_DEFAULT_NOTICE_S = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be chosen. Rates are in simulated seconds, limits in wall seconds."""

    host: str = "127.0.0.1"
    port: int = 9443
    mode: str = "simulated"
    seed: int = 7
    symbols: int = 50
    rate: int = 200
    calm_rate: float | None = None
    speed: float = 1.0
    start_us: int | None = None
    history_s: int | None = None
    recordings: tuple[Path, ...] = ()
    firehose: int = 0
    limits: Limits = field(default_factory=Limits)
    shutdown_notice_s: float | None = None

    @property
    def history_us(self) -> int:
        """How much of the past exists at start, in microseconds; the server adds up to a minute."""
        default = min(_HISTORY_S, _HISTORY_TRADES // self.rate)
        return (default if self.history_s is None else self.history_s) * 1_000_000


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Return the settings of a command line; exits with all mistakes on stderr and code 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    problems: list[str] = []
    limits = _limits(given, problems)
    start_us = _start_us(given.start, problems)
    _check(given, problems)
    if problems:
        parser.error("\n  ".join(["", *problems]))
    return Settings(
        host=given.host,
        port=given.port,
        mode=given.mode,
        seed=given.seed,
        symbols=given.symbols or (200 if given.firehose else 50),
        rate=given.rate,
        calm_rate=given.calm_rate,
        speed=given.speed,
        start_us=start_us,
        history_s=given.history,
        recordings=tuple(given.recording),
        firehose=given.firehose,
        limits=limits,
        shutdown_notice_s=given.shutdown_notice,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.exchange",
        description="A simulated Binance: websocket and REST on one port.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to bind to (default: %(default)s)")
    add("--port", type=int, default=9443, help="port; 0 picks a free one (default: %(default)s)")
    add("--mode", choices=("simulated", "recording"), default="simulated")
    add("--seed", type=int, default=7, help="same seed, same market (default: %(default)s)")
    add("--symbols", type=int, help="trading symbols (default: 50, with --firehose 200)")
    add("--rate", type=int, default=200, help="trades a simulated second over all symbols")
    add("--calm-rate", type=float, help="the same until a POST of /sim/hurry; default: no calm")
    add("--speed", type=float, default=1.0, help="simulated seconds in a wall second")
    add("--start", help="simulated time at start, ISO 8601 (default: now)")
    add("--history", type=int, metavar="SECONDS",
        help="past whose klines REST serves (default: 3600)")  # fmt: skip
    add("--recording", type=Path, nargs="+", action="extend", default=[], metavar="FILE",
        help="files to serve in mode recording, in this order")  # fmt: skip
    add("--firehose", type=int, default=0, metavar="N",
        help="benchmark: send N prepared trades to the first subscriber at once")  # fmt: skip
    add("--limits", choices=("documented", "off"), default="documented")
    add("--limit", action="append", default=[], metavar="NAME=VALUE",
        help="override one limit, for example ping_interval_s=1 or lifetime_s=off")  # fmt: skip
    add("--shutdown-notice", type=float, nargs="?", const=_DEFAULT_NOTICE_S, metavar="SECONDS",
        help="on SIGTERM send serverShutdown this long before closing")  # fmt: skip
    return parser


def _limits(given: argparse.Namespace, problems: list[str]) -> Limits:
    limits = Limits() if given.limits == "documented" else Limits.off()
    for override in given.limit:
        name, _, value = override.partition("=")
        try:
            limits = limits.override(name, value)
        except ValueError as error:
            problems.append(f"--limit {override}: {error}")
    return limits


def _start_us(text: str | None, problems: list[str]) -> int | None:
    if text is None:
        return None
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        problems.append(f"--start: expected a time like 2026-01-31T12:00:00Z, was {text!r}")
        return None
    if start.tzinfo is None:
        start = start.replace(tzinfo=UTC)
    start_us = int(start.replace(microsecond=0).timestamp()) * 1_000_000 + start.microsecond
    if start_us < ORIGIN_US + 86_400_000_000:
        problems.append(f"--start: the market opened in 2017-07, {text!r} is before that")
    return start_us


def _check(given: argparse.Namespace, problems: list[str]) -> None:
    if not 0 <= given.port <= 65_535:
        problems.append(f"--port: expected 0 to 65535, was {given.port}")
    if given.symbols is not None and not 1 <= given.symbols <= MAX_INSTRUMENTS:
        problems.append(f"--symbols: expected 1 to {MAX_INSTRUMENTS}, was {given.symbols}")
    for name in ("rate", "calm_rate", "speed"):
        value = getattr(given, name)
        if value is not None and value <= 0:
            flag = f"--{name.replace('_', '-')}"
            problems.append(f"{flag}: expected a positive number, was {value}")
    for name in ("firehose", "history", "shutdown_notice"):
        if (getattr(given, name) or 0) < 0:
            problems.append(f"--{name.replace('_', '-')}: expected 0 or more")
    if given.mode == "recording" and not given.recording:
        problems.append("--mode recording needs at least one --recording FILE")
    if given.mode == "simulated" and given.recording:
        problems.append("--recording is only served in --mode recording; add it or drop the files")
    if given.mode == "recording" and given.firehose:
        problems.append("--firehose sends the simulated market; it does not go with recordings")
    problems += [f"--recording: {path} does not exist" for path in given.recording
                 if not path.is_file()]  # fmt: skip
