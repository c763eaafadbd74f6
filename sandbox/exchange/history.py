"""What REST knows of the past: trades, aggregate trades and klines up to the present.

`rest.py` asks; the answers come from the market's tape, so they are the very trades that the
streams sent. In recording and firehose mode there is no history and every answer is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

from sandbox.exchange.feed import MarketFeed
from sandbox.exchange.klines import Bar
from sandbox.exchange.market import Aggregate
from sandbox.exchange.payloads import agg_trade_row, kline_row, trade_rows


class History(Protocol):
    """Rows of a symbol, in chronological order; times UTC in microseconds, ends inclusive."""

    def trades(
        self, symbol: str, from_id: int | None, limit: int, unit: int
    ) -> list[dict[str, Any]]:
        """Return trades from an id on, or the most recent ones."""

    def agg_trades(
        self, symbol: str, from_id: int | None, start_us: int | None, end_us: int | None,
        limit: int, unit: int,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Return aggregate trades from an id on, or within a time range, or the most recent."""

    def klines(
        self, symbol: str, interval: str, start_us: int | None, end_us: int | None,
        limit: int, unit: int,
    ) -> list[list[Any]]:  # fmt: skip
        """Return klines by open time: the oldest from a start on, else the newest."""


class NoHistory:
    """An exchange that remembers nothing."""

    def trades(self, *_asked: object) -> list[dict[str, Any]]:
        """Return nothing."""
        return []

    def agg_trades(self, *_asked: object) -> list[dict[str, Any]]:
        """Return nothing."""
        return []

    def klines(self, *_asked: object) -> list[list[Any]]:
        """Return nothing."""
        return []


class MarketHistory:
    """The past of a simulated market."""

    def __init__(self, feed: MarketFeed) -> None:
        self._feed = feed
        self._tape = feed.tape
        self._numbers = {
            instrument.symbol: number for number, instrument in enumerate(feed.instruments)
        }

    def trades(
        self, symbol: str, from_id: int | None, limit: int, unit: int
    ) -> list[dict[str, Any]]:
        """Return trades from an id on, or the most recent ones."""
        number = self._numbers.get(symbol)
        if number is None:
            return []
        if from_id is None:
            start = self._tape.next_aggregate_id(number) - limit  # at least one trade each
            rows = self._trade_rows(number, start, unit)
            return list(rows)[-limit:]
        start = self._tape.aggregate_of_trade(number, from_id)
        found = (row for row in self._trade_rows(number, start, unit) if row["id"] >= from_id)
        return list(islice(found, limit))

    def agg_trades(
        self, symbol: str, from_id: int | None, start_us: int | None, end_us: int | None,
        limit: int, unit: int,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Return aggregate trades from an id on, or within a time range, or the most recent."""
        number = self._numbers.get(symbol)
        if number is None:
            return []
        end = self._tape.next_aggregate_id(number)
        if end_us is not None:
            end = self._tape.aggregate_at(number, end_us + 1)
        if start_us is not None:
            from_id = self._tape.aggregate_at(number, start_us)
        start = end - limit if from_id is None else from_id
        found = islice(self._tape.from_aggregate(number, start), limit)
        return [agg_trade_row(a, unit) for a in found if a.aggregate_id < end]

    def klines(
        self, symbol: str, interval: str, start_us: int | None, end_us: int | None,
        limit: int, unit: int,
    ) -> list[list[Any]]:  # fmt: skip
        """Return klines by open time: the oldest from a start on, else the newest."""
        number = self._numbers.get(symbol)
        if number is None:
            return []
        bars: list[Bar] = [
            bar
            for bar in self._feed.klines(number, interval)
            if (start_us is None or bar.opened_at_us >= start_us)
            and (end_us is None or bar.opened_at_us <= end_us)
        ]
        chosen = bars[-limit:] if start_us is None else bars[:limit]
        return [kline_row(bar, interval, unit) for bar in chosen]

    def _trade_rows(self, number: int, from_aggregate: int, unit: int) -> Iterator[dict[str, Any]]:
        aggregates: Iterator[Aggregate] = self._tape.from_aggregate(number, from_aggregate)
        return (row for aggregate in aggregates for row in trade_rows(aggregate, unit))
