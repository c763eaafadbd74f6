"""What our candles and Binance's have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..truths import Expectation, above_zero, at_least

# The body of a candle lies between its open and its close.
CANDLE_COLUMNS: Final = (
    "high, least(open, close) as body_low, greatest(open, close) as body_high, low, volume,"
    " quote_volume, trades, taker_buy_volume, taker_buy_quote_volume"
)


def candle_truths(remedy: str) -> Iterator[Expectation]:
    """Yield what is true of every candle."""
    prices = "low <= open, close <= high: prices of a candle lie between its low and its high."
    yield at_least("high", "body_high", prices, remedy)
    yield at_least("body_low", "low", prices, remedy)
    yield above_zero("low", remedy)
    for part, whole in (
        ("taker_buy_volume", "volume"),
        ("taker_buy_quote_volume", "quote_volume"),
    ):
        yield at_least(whole, part, "Takers bought at most what was traded.", remedy)
