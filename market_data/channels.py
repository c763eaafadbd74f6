"""Channels: the named decision for every kind of frame that Binance sends.

A channel is loaded (decoded into rows) or archived (kept raw, counted, not loaded). The set is
closed: a stream that nobody knows is of the channel `other`, a frame without a stream name of the
channel `control`. So the archive's folders and the metrics' labels stay bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CONTROL: Final = "control"
EXCHANGE_INFO: Final = "exchangeInfo"
HOLE: Final = "hole"
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Channel:
    """One kind of message.

    Attributes:
        name: name in frames, archive paths and metrics.
        is_loaded: True when its lines become rows of a table.
        decision: what happens to it and why, for people.
    """

    name: str
    is_loaded: bool
    decision: str


CHANNELS: Final[dict[str, Channel]] = {
    channel.name: channel
    for channel in (
        Channel("trade", True, "raw.trades"),
        Channel("aggTrade", True, "raw.agg_trades"),
        Channel("kline", True, "raw.klines"),
        Channel("bookTicker", True, "raw.book_tickers"),
        Channel(EXCHANGE_INFO, True, "raw.symbols; asked from REST, no stream has it"),
        Channel(HOLE, True, "ops.holes; made by the collector, no stream has it"),
        Channel("blockTrade", False, "archived: own id space, unknown whether candles count it"),
        Channel("depth", False, "archived: order books are not loaded yet"),
        Channel("miniTicker", False, "archived: a rolling summary of trades that we have"),
        Channel("ticker", False, "archived: a rolling summary of trades that we have"),
        Channel("avgPrice", False, "archived: a rolling summary of trades that we have"),
        Channel("referencePrice", False, "archived: no trade and no event time"),
        Channel("serverShutdown", False, "archived: acted on by the collector"),
        Channel(CONTROL, False, "archived: frames without a stream name, told apart one by one"),
        Channel(OTHER, False, "archived: streams that this version does not know"),
    )
}

_PREFIXES: Final = (
    ("kline_", "kline"),
    ("depth", "depth"),
    ("miniTicker", "miniTicker"),
    ("ticker", "ticker"),
)


def channel_of(stream: str) -> str:
    """Return the channel's name for a stream name such as `btcusdt@kline_1m` or `!ticker_1h@arr`.

    Source: binance-protocol, sections 1 and 2 (stream names). Klines cut in UTC+8
    (`@kline_1m@+08:00`) are of the channel `other`: their candles are not the UTC ones.
    """
    symbol, _, kind = stream.partition("@")
    if symbol.startswith("!"):
        kind = symbol[1:]
    if kind.startswith("kline_") and "@" in kind:
        return OTHER
    if kind in CHANNELS and kind not in (CONTROL, EXCHANGE_INFO, HOLE, OTHER, "kline"):
        return kind
    for prefix, channel in _PREFIXES:
        if kind.startswith(prefix):
            return channel
    return OTHER


def symbol_of(stream: str) -> str | None:
    """Return the upper-case symbol of a stream name, None for `!…` streams of the whole market."""
    symbol, at, _ = stream.partition("@")
    return symbol.upper() if at and not symbol.startswith("!") else None
