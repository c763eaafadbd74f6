"""Candles of the simulated exchange, computed incrementally as trades happen.

One `KlineSeries` per symbol holds the minute that is forming, one accumulated bar per longer
interval, and the closed bars. Source of the rules: binance-protocol section 2 (a kline is the
trades with open <= T < open + interval in id order; without trades it repeats the previous close
with f = L = -1). All intervals are cut at multiples of their length since the Unix epoch, UTC.

The quote volume is the sum of the trades' truncated quote quantities (decision 004).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sandbox.exchange.market import Aggregate

MINUTE_US = 60_000_000
# Length in minutes. 1s, 3d, 1w and 1M are not simulated (decision 004).
INTERVALS: dict[str, int] = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60,
    "2h": 120, "4h": 240, "6h": 360, "8h": 480, "12h": 720, "1d": 1440,
}  # fmt: skip


@dataclass(slots=True)
class Bar:
    """One kline; prices and volumes scaled by 10^8, times UTC in microseconds."""

    opened_at_us: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    quote_volume: int = 0
    taker_volume: int = 0
    taker_quote_volume: int = 0
    first_id: int = -1
    last_id: int = -1
    trades: int = 0

    @classmethod
    def empty(cls, opened_at_us: int, price: int) -> Bar:
        """Return a bar without trades at the previous close."""
        return cls(opened_at_us, price, price, price, price)

    def add(self, aggregate: Aggregate) -> None:
        """Count the trades of an aggregate, the next in id order."""
        price = aggregate.price
        if self.trades == 0:
            self.open = self.high = self.low = price
            self.first_id = aggregate.first_id
        elif price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.last_id = aggregate.last_id
        self.trades += len(aggregate.fills)
        self.volume += aggregate.quantity
        self.quote_volume += aggregate.quote_quantity
        if not aggregate.is_buyer_maker:
            self.taker_volume += aggregate.quantity
            self.taker_quote_volume += aggregate.quote_quantity

    def merge(self, later: Bar) -> None:
        """Count a bar that follows this one directly."""
        if later.trades == 0:
            return
        if self.trades == 0:
            self.open, self.high, self.low = later.open, later.high, later.low
            self.first_id = later.first_id
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.last_id = later.last_id
        self.trades += later.trades
        self.volume += later.volume
        self.quote_volume += later.quote_volume
        self.taker_volume += later.taker_volume
        self.taker_quote_volume += later.taker_quote_volume


class KlineSeries:
    """All intervals of one symbol.

    Args:
        from_us: when the series begins; a bar that contains it counts from there.
        previous_close: the price of the last trade before.
        keep: how many closed bars to keep per interval.
    """

    def __init__(self, from_us: int, previous_close: int, keep: int) -> None:
        self._minute = Bar.empty(_floor(from_us, 1), previous_close)
        self._forming = {
            interval: Bar.empty(_floor(from_us, minutes), previous_close)
            for interval, minutes in INTERVALS.items()
            if interval != "1m"
        }
        self._closed: dict[str, deque[Bar]] = {i: deque(maxlen=keep) for i in INTERVALS}

    def add(self, aggregate: Aggregate) -> list[tuple[str, Bar]]:
        """Count an aggregate; returns what its arrival closed, see `roll`."""
        closed = self.roll(aggregate.time_us)
        self._minute.add(aggregate)
        return closed

    def roll(self, now_us: int) -> list[tuple[str, Bar]]:
        """Close every bar that ends at or before `now_us`; returns (interval, bar) in order."""
        closed: list[tuple[str, Bar]] = []
        while now_us - self._minute.opened_at_us >= MINUTE_US:
            closed += self._close_minute()
        return closed

    def current(self, interval: str) -> Bar:
        """Return a copy of the forming bar of an interval."""
        if interval == "1m":
            return replace(self._minute)
        bar = replace(self._forming[interval])
        bar.merge(self._minute)
        return bar

    def closed(self, interval: str) -> Iterable[Bar]:
        """Return the closed bars kept, oldest first."""
        return self._closed[interval]

    def _close_minute(self) -> list[tuple[str, Bar]]:
        minute = self._minute
        end_us = minute.opened_at_us + MINUTE_US
        closed = [("1m", minute)]
        for interval, bar in self._forming.items():
            bar.merge(minute)
            if end_us == bar.opened_at_us + INTERVALS[interval] * MINUTE_US:
                closed.append((interval, bar))
                self._forming[interval] = Bar.empty(end_us, bar.close)
        for interval, bar in closed:
            self._closed[interval].append(bar)
        self._minute = Bar.empty(end_us, minute.close)
        return closed


def _floor(time_us: int, minutes: int) -> int:
    return time_us - time_us % (minutes * MINUTE_US)
