"""Reads the market along simulated time: forwards for the streams, anywhere back for REST.

Streams begin at `genesis` and have reached what was emitted. Before that the past is open down to
the market's first trade: nothing is stored but one block, the rest is computed when asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from sandbox.exchange.clock import Timeline
from sandbox.exchange.market import BLOCK_US, ORIGIN_US, Aggregate, Market, SymbolMarket, block_at

_MOST_AT_ONCE = 500


class Tape:
    """The trades of `market` from `genesis_us` on, their times translated by `timeline`."""

    def __init__(self, market: Market, timeline: Timeline, genesis_us: int) -> None:
        self.market = market
        self.timeline = timeline
        self._genesis_us = genesis_us
        self._emitted_us = genesis_us  # market time; everything before it has been emitted
        self._block = block_at(genesis_us)
        self._pending: list[Aggregate] = []
        self._position = 0
        self._load(genesis_us)

    def advance(self, now_us: int) -> tuple[list[Aggregate], bool]:
        """Return what happened before `now_us` and was not returned yet, in time order.

        At most one block and some 500 aggregates are returned at a time, so that a reader who is
        late still gets to write between them; the flag tells whether `now_us` is reached.
        """
        target = self.timeline.reached(now_us)
        block_end = ORIGIN_US + (self._block + 1) * BLOCK_US
        limit = min(target, block_end)
        first = position = self._position
        pending = self._pending
        while position < len(pending) and pending[position].time_us < limit:
            position += 1
            if position - first >= _MOST_AT_ONCE:  # but never part of a moment
                limit = min(limit, pending[position - 1].time_us + 1)
        self._position = position
        self._emitted_us = max(self._emitted_us, limit)
        out = self._simulated(pending[first:position])
        if limit < min(target, block_end):
            return out, False
        if target < block_end:
            return out, True
        self._block += 1
        self._load(block_end)
        return out, False

    def previous_price(self, symbol: int) -> int:
        """Return the price of the symbol's last trade before genesis."""
        return self.market.symbols[symbol].price_before(self._genesis_us)

    def next_aggregate_id(self, symbol: int) -> int:
        """Return the id after the last emitted aggregate of the symbol."""
        return self.market.symbols[symbol].aggregates_before_time(self._emitted_us)

    def from_aggregate(self, symbol: int, aggregate_id: int) -> Iterator[Aggregate]:
        """Yield the emitted aggregates of a symbol from an id on."""
        market = self.market.symbols[symbol]
        start = max(aggregate_id, market.aggregates_before(0))
        end = self.next_aggregate_id(symbol)
        while start < end:
            block = self._block_of(market, start)
            found = [a for a in market.block(block) if start <= a.aggregate_id < end]
            yield from self._simulated(found)
            start = found[-1].aggregate_id + 1

    def aggregate_of_trade(self, symbol: int, trade_id: int) -> int:
        """Return the id of the first emitted aggregate whose last trade is `trade_id` or later."""
        market = self.market.symbols[symbol]
        block = bisect_right(range(1, self._block + 2), trade_id, key=market.trades_before)
        found = (a.aggregate_id for a in market.block(block) if a.last_id >= trade_id)
        end = self.next_aggregate_id(symbol)
        return min(next(found, end), end)

    def aggregate_at(self, symbol: int, simulated_us: int) -> int:
        """Return the id of the first emitted aggregate at or after a simulated time."""
        market = self.market.symbols[symbol]
        market_us = max(self.timeline.to_market(simulated_us), ORIGIN_US)
        return market.aggregates_before_time(min(market_us, self._emitted_us))

    def span(self, start_us: int, end_us: int, now_us: int) -> tuple[int, int] | None:
        """Return the market times of a span of simulated time, the end exclusive.

        None while it is not over (`now_us` is before its end, or not all of it was emitted), or
        when it begins before the market.
        """
        to_market = self.timeline.to_market
        end = min(to_market(end_us), self.timeline.reached(now_us))
        if now_us < end_us or self._emitted_us < end or start_us < ORIGIN_US:
            return None
        return min(to_market(start_us), end), end

    def _load(self, from_us: int) -> None:
        self._pending = [a for a in self.market.block(self._block) if a.time_us >= from_us]
        self._position = 0

    def _simulated(self, aggregates: list[Aggregate]) -> list[Aggregate]:
        to_simulated = self.timeline.to_simulated
        return [a._replace(time_us=to_simulated(a.time_us)) for a in aggregates]

    def _block_of(self, market: SymbolMarket, aggregate_id: int) -> int:
        return market.block_of_aggregate(aggregate_id, 0, self._block + 2)
