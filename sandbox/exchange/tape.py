"""Reads the market along simulated time: forwards for the streams, anywhere back for REST.

The tape begins at `genesis` (the history that REST serves) and ends at what has been emitted.
Nothing is stored but one block; the past is computed again when asked for.
"""

from __future__ import annotations

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
        market = self.market.symbols[symbol]
        last = self._first_aggregate(market) - 1
        return self._aggregate(market, last).price

    def next_aggregate_id(self, symbol: int) -> int:
        """Return the id after the last emitted aggregate of the symbol."""
        return self._ids_before(self.market.symbols[symbol], self._emitted_us)

    def from_aggregate(self, symbol: int, aggregate_id: int) -> Iterator[Aggregate]:
        """Yield the emitted aggregates of a symbol from an id on (or from the first kept)."""
        market = self.market.symbols[symbol]
        start = max(aggregate_id, self._first_aggregate(market))
        end = self.next_aggregate_id(symbol)
        while start < end:
            block = self._block_of(market, start)
            found = [a for a in market.block(block) if start <= a.aggregate_id < end]
            yield from self._simulated(found)
            start = found[-1].aggregate_id + 1

    def aggregate_of_trade(self, symbol: int, trade_id: int) -> int:
        """Return the id of the first kept aggregate whose last trade is `trade_id` or later."""
        market = self.market.symbols[symbol]
        low, high = self._first_aggregate(market), self.next_aggregate_id(symbol)
        while low < high:  # fills are dealt within a block, so look at real aggregates
            block = self._block_of(market, (low + high) // 2)
            aggregates = market.block(block)
            if trade_id < aggregates[0].first_id:
                high = max(low, aggregates[0].aggregate_id)
            elif trade_id > aggregates[-1].last_id:
                low = aggregates[-1].aggregate_id + 1
            else:
                found = next(a.aggregate_id for a in aggregates if a.last_id >= trade_id)
                return max(low, found)
        return low

    def aggregate_at(self, symbol: int, simulated_us: int) -> int:
        """Return the id of the first kept aggregate at or after a simulated time."""
        market = self.market.symbols[symbol]
        market_us = max(self.timeline.to_market(simulated_us), self._genesis_us)
        return self._ids_before(market, min(market_us, self._emitted_us))

    def _load(self, from_us: int) -> None:
        self._pending = [a for a in self.market.block(self._block) if a.time_us >= from_us]
        self._position = 0

    def _simulated(self, aggregates: list[Aggregate]) -> list[Aggregate]:
        to_simulated = self.timeline.to_simulated
        return [a._replace(time_us=to_simulated(a.time_us)) for a in aggregates]

    def _first_aggregate(self, market: SymbolMarket) -> int:
        return self._ids_before(market, self._genesis_us)

    def _ids_before(self, market: SymbolMarket, market_us: int) -> int:
        block = block_at(market_us)
        inside = sum(1 for a in market.block(block) if a.time_us < market_us)
        return market.aggregates_before(block) + inside

    def _block_of(self, market: SymbolMarket, aggregate_id: int) -> int:
        return market.block_of_aggregate(aggregate_id, 0, self._block + 2)

    def _aggregate(self, market: SymbolMarket, aggregate_id: int) -> Aggregate:
        block = market.block(self._block_of(market, aggregate_id))
        return next(a for a in block if a.aggregate_id == aggregate_id)
