"""docs/live.md against the addresses, limits and flags in the code."""

import re

from collector.budget import SHARE, WEIGHT_A_MINUTE
from collector.protocol import (
    ATTEMPTS_WINDOW_SECONDS,
    MAX_ATTEMPTS,
    MAX_STREAMS_PER_CONNECTION,
    SECONDS_BETWEEN_MESSAGES,
    plan_shards,
)
from collector.settings import Settings
from plugins.market_ops.settings import Settings as DagSettings
from sandbox import cli
from sandbox.services import LIVE_SYMBOLS
from sandbox.settings import ROOT
from sandbox.settings import Settings as SandboxSettings
from tests.docs import markdown

LIVE = ROOT / "docs" / "live.md"
TEXT = LIVE.read_text("utf-8")


def test_addresses() -> None:
    shown = [row[0].strip("`") for row in markdown.rows(LIVE, "Live") if "://" in row[0]]
    assert shown == [Settings().ws_url, Settings().rest_url, DagSettings.vision_url]


def test_flags_and_symbols() -> None:
    options = cli._parser().parse_args(["up", *" ".join(flags()).split(), "--exchange", "live"])
    assert options.command == "up"
    (row,) = (row for row in markdown.rows(LIVE, "What to type") if row[0] == "`--symbols`")
    assert re.findall(r"[A-Z]+USDT", row[1]) == list(LIVE_SYMBOLS)


def flags() -> list[str]:
    """Return the documented flags, with a value where they take one."""
    values = {"`--symbols`": "--symbols BTCUSDT", "`--channels`": "--channels trade"}
    return [values.get(row[0], row[0].strip("`")) for row in markdown.rows(LIVE, "What to type")]


def test_streams_and_connections_of_the_first_minute() -> None:
    shards = plan_shards(LIVE_SYMBOLS, SandboxSettings().channels, MAX_STREAMS_PER_CONNECTION)
    streams = sum(len(shard.streams) for shard in shards)
    assert f"are {streams} streams on {len(shards)} connections" in TEXT


def test_limits() -> None:
    used = [row[1] for row in markdown.rows(LIVE, "Limits")]
    assert used[0] == f"at most {MAX_STREAMS_PER_CONNECTION:,}"
    assert f"{MAX_ATTEMPTS} connection attempts in {ATTEMPTS_WINDOW_SECONDS / 60:g} min" in TEXT
    assert used[2].startswith(f"{1 / SECONDS_BETWEEN_MESSAGES:g}, ")
    assert used[3] == f"{Settings().rotate_seconds / 3600:g} at most"
    assert used[4].startswith(f"{WEIGHT_A_MINUTE * SHARE:,.0f}, ")
    symbols = [f"A{number}" for number in range(2500)]
    shards = plan_shards(symbols, SandboxSettings().channels, MAX_STREAMS_PER_CONNECTION)
    assert f"2,500 symbols on nine channels are {len(shards)} connections" in TEXT


def test_messages_are_those_of_the_code() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "collector").rglob("*.py"))
    for text in ("nothing is asked until", "silent for", "unknown_symbols", "serverShutdown"):
        assert text in TEXT
        assert text in code


def test_metrics_are_those_of_the_collector() -> None:
    known = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    for name in re.findall(r"`(collector_\w+)`", TEXT):
        assert f"`{name}`" in known, name
