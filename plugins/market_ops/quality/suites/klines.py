"""Binance's klines, the witness for our candles."""

# ruff: noqa: S608 - what is put into SQL are constants of this module and times

from __future__ import annotations

from datetime import timedelta

from ..truths import PAIR_NULLS, Expectation, Suite, has_rows
from ..window import Window
from .of_candles import CANDLE_COLUMNS, candle_truths


def klines(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of Binance's klines, the witness for our candles."""
    return Suite(
        name="klines",
        table="raw.klines",
        query=(
            f"select market, symbol, kline_interval, opened_at, closed_at, {CANDLE_COLUMNS}"
            f" from `raw`.`klines` where {window.whole_days.holds('opened_at')}"
            f" and {window.is_settled}"
        ),
        keys=("market", "symbol", "kline_interval", "opened_at"),
        expectations=(
            has_rows("klines", "Does the collector subscribe to klines (BINANCE_CHANNELS)?"),
            *candle_truths("Our decoder or Binance is wrong: compare with the raw archive."),
            Expectation(
                name="closes_after_opening",
                kind="ExpectColumnPairValuesAToBeGreaterThanB",
                severity="fail",
                threshold="closed_at > opened_at",
                meaning="A candle ends after it began.",
                remedy="Times were decoded in the wrong unit: compare with the raw archive.",
                columns=("closed_at", "opened_at"),
                arguments=PAIR_NULLS,
            ),
        ),
    )
