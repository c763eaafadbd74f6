"""Options of the replay; all mistakes are reported together."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from beam_jobs.options import (
    OptionsError,
    StreamOptions,
    archive_bucket,
    mistakes_on_dataflow,
)
from market_data.channels import CHANNELS
from market_data.layouts import LAYOUTS
from market_data.tables import DATASETS

MARKET: Final = "spot"
# An hour of a channel is an element with a query of its own; more is another run.
MAX_HOURS: Final = 31 * 24


class ReplayOptions(PipelineOptions):
    """What is replayed, and where to; `--archive` and `--dataset_location` are `StreamOptions`'."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--first", help="first UTC hour of arrival, as 2026-03-01T17")
        parser.add_argument("--last", help="last UTC hour of arrival, included")
        parser.add_argument(
            "--channels",
            default=",".join(LAYOUTS),
            help="channels, separated by commas (default: all that are loaded)",
        )
        parser.add_argument(
            "--symbols", default="", help="symbols, separated by commas (default: all)"
        )
        parser.add_argument(
            "--tables", default="", help="dataset to rebuild all tables in (default: in place)"
        )
        parser.add_argument("--proof", default="", help="object that the proof is written to")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What is replayed, checked.

    Attributes:
        bucket: bucket of the archive.
        market: market of the exchange.
        first: start of the first hour of arrival.
        last: start of the last hour of arrival.
        channels: the channels.
        symbols: the symbols; none for all.
        dataset: dataset of all tables; None for each table's own.
        proof: name of the object with the proof.
        asked: all of this for the reader of the proof.
    """

    bucket: str
    market: str
    first: datetime
    last: datetime
    channels: tuple[str, ...]
    symbols: frozenset[str]
    dataset: str | None
    proof: str
    asked: dict[str, Any]


def check_replay(options: PipelineOptions, now: datetime) -> Replay:
    """Check all options and return what is to be replayed.

    Raises:
        OptionsError: naming every option that is wrong, its value and the remedy.
    """
    given = options.view_as(ReplayOptions)
    mistakes: list[str] = []
    bucket = ""
    try:
        bucket = archive_bucket(options.view_as(StreamOptions))
    except OptionsError as error:
        mistakes.append(str(error))
    if not options.view_as(GoogleCloudOptions).project:
        mistakes.append("--project: expected the project of the tables, was nothing")
    first, last = (_hour(name, getattr(given, name), mistakes) for name in ("first", "last"))
    hours = (last - first).total_seconds() / 3600 + 1
    if not mistakes and not 1 <= hours <= MAX_HOURS:
        mistakes.append(
            f"--last: expected --first ({given.first}) or up to {MAX_HOURS} hours from it, was"
            f" {given.last!r}"
        )
    channels, symbols = _names(given.channels), _names(given.symbols)
    for channel in channels:
        if channel not in CHANNELS:
            mistakes.append(f"--channels: expected some of {', '.join(CHANNELS)}, was {channel!r}")
    if not channels:
        mistakes.append("--channels: expected at least one channel, was nothing")
    if given.tables and (not re.fullmatch(r"[A-Za-z]\w{0,99}", given.tables)):
        mistakes.append(f"--tables: expected a dataset as replayed, was {given.tables!r}")
    if given.tables in DATASETS:
        mistakes.append(
            f"--tables: {given.tables} holds tables of the platform; name another dataset, or leave"
            " it out to replay in place"
        )
    mistakes += mistakes_on_dataflow(options)
    if mistakes:
        raise OptionsError("\n".join(mistakes))
    name = f"replays/{given.first}--{given.last}--{now:%Y%m%dT%H%M%SZ}.json"
    asked = {
        "archive": f"gs://{bucket}",
        "market": MARKET,
        "first_hour": given.first,
        "last_hour": given.last,
        "channels": channels,
        "only_symbols": symbols,
        "tables": given.tables or "in place",
        "started_at": now.isoformat(timespec="seconds"),
    }
    return Replay(
        bucket=bucket,
        market=MARKET,
        first=first,
        last=last,
        channels=tuple(channels),
        symbols=frozenset(symbols),
        dataset=given.tables or None,
        proof=given.proof or name,
        asked=asked,
    )


def _hour(name: str, text: str | None, mistakes: list[str]) -> datetime:
    try:
        return datetime.strptime(f"{text}+0000", "%Y-%m-%dT%H%z")
    except ValueError:
        mistakes.append(f"--{name}: expected an hour in UTC as 2026-03-01T17, was {text!r}")
        return datetime.fromtimestamp(0, UTC)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
