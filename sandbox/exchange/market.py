"""The market: every trade as a pure function of (seed, market time).

Time is cut into blocks of one second. The number of aggregate trades of a symbol up to a block
has a closed form (a constant rate under a seeded, strictly increasing time warp), the number of
trades follows from it, and so do both ids: they are consecutive over the market's whole life, and
any block can be computed alone, in any order, without storing anything. `tape.py` reads it forwards
for the websocket streams and backwards for REST.

A taker order makes one or more aggregates (a sweep through price levels at one moment); an
aggregate makes one or more trades (fills at one price) that share its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from sandbox.exchange.catalogue import Instrument
from sandbox.exchange.fixed_point import SCALE
from sandbox.exchange.noise import Noise, mix

# When the market began, ids start at 0 here: 2017-07-14T02:40:00Z, the month Binance opened.
ORIGIN_US = 1_500_000_000_000_000
BLOCK_US = 1_000_000
BLOCKS_PER_MINUTE = 60_000_000 // BLOCK_US

_ZIPF_EXPONENT = 1.05
# Three extra fills for two aggregates: 2.5 trades per aggregate on average.
_EXTRA_FILLS, _PER_AGGREGATES = 3, 2
# Rates are integers: aggregates per million blocks.
_RATE_UNIT = 1_000_000
_FOR_EVER = 2**62
# The time warp in thousandths of a block, as (period in blocks, amplitude): the slopes sum to
# 0.8 < 1, hence activity between a fifth of and nearly twice the mean, and never standing still.
_WARP_UNIT = 1000
_WARP = (
    (4, 4 * _WARP_UNIT * 2 // 10),
    (180, 180 * _WARP_UNIT * 3 // 10),
    (1500, 1500 * _WARP_UNIT * 3 // 10),
)
# The price's wandering in millionths, from a week down to twelve seconds.
_PPM = 1_000_000
_PRICE = (
    (10_080 * BLOCKS_PER_MINUTE, 80_000),
    (1_440 * BLOCKS_PER_MINUTE, 30_000),
    (120 * BLOCKS_PER_MINUTE, 8_000),
    (15 * BLOCKS_PER_MINUTE, 2_500),
    (2 * BLOCKS_PER_MINUTE, 900),
    (12, 150),
)
# Levels a taker order sweeps, by three random bits.
_SWEEP = (1, 1, 1, 1, 1, 1, 2, 3)


class Aggregate(NamedTuple):
    """An aggregate trade and its fills; prices and quantities scaled by 10^8, times UTC in us.

    The trades are `first_id`, `first_id + 1`, ..., one per entry of `fills` (their quantities).
    `quote_quantity` is the sum of the fills' truncated quote quantities.
    """

    time_us: int
    symbol: int
    aggregate_id: int
    first_id: int
    price: int
    quantity: int
    quote_quantity: int
    fills: tuple[int, ...]
    is_buyer_maker: bool

    @property
    def last_id(self) -> int:
        """The id of the last trade."""
        return self.first_id + len(self.fills) - 1


class SymbolMarket:
    """One symbol's trades.

    Args:
        instrument: the symbol.
        number: its place in the market.
        seed: of everything random.
        rate: its mean number of aggregates per million blocks.
        calm_rate: the same before the block `calm_until`; None without a calm.
    """

    def __init__(
        self,
        instrument: Instrument,
        number: int,
        seed: int,
        rate: int,
        calm_rate: int | None = None,
    ) -> None:
        self.calm_until = 0 if calm_rate is None else _FOR_EVER
        self._calm_rate = calm_rate or 0
        self.instrument = instrument
        self.number = number
        self._seed = mix(seed, number)
        self._rate = rate
        self._warp = Noise(mix(self._seed, 1), _WARP)
        self._price = Noise(mix(self._seed, 2), _PRICE)
        self._base_ticks = instrument.price // instrument.tick
        self._jitter = max(1, self._base_ticks // 50_000)
        self._reached = (0, self._aggregates_before(0))  # a forward reader asks each block twice

    def aggregates_before(self, block: int) -> int:
        """Return the number of aggregates before `block`: also the id of the next one.

        Strictly computable for any block and never decreasing: the warp's slope is above -1.
        """
        if block != self._reached[0]:
            self._reached = (block, self._aggregates_before(block))
        return self._reached[1]

    def _aggregates_before(self, block: int) -> int:
        if not self._calm_rate:
            return self._count(block, self._rate)
        calm = self._count(min(block, self.calm_until), self._calm_rate)
        if block <= self.calm_until:
            return calm
        return calm + self._count(block, self._rate) - self._count(self.calm_until, self._rate)

    def _count(self, block: int, rate: int) -> int:
        warped = block * _WARP_UNIT + self._warp.at(block)
        return warped * rate // (_RATE_UNIT * _WARP_UNIT)

    def trades_before(self, block: int) -> int:
        """Return the number of trades before `block`: also the id of the next one."""
        return _trades_of(self.aggregates_before(block))

    def block_of_aggregate(self, aggregate_id: int, low: int, high: int) -> int:
        """Return the block in [low, high) that holds the aggregate; the caller knows it does."""
        while high - low > 1:
            middle = (low + high) // 2
            if self.aggregates_before(middle) <= aggregate_id:
                low = middle
            else:
                high = middle
        return low

    def aggregates_before_time(self, market_us: int) -> int:
        """Return the number of aggregates before a market time: also the id of the next one."""
        block = block_at(market_us)
        inside = sum(1 for aggregate in self.block(block) if aggregate.time_us < market_us)
        return self.aggregates_before(block) + inside

    def aggregate(self, aggregate_id: int, end_block: int) -> Aggregate:
        """Return an aggregate that the caller knows to be before `end_block`."""
        block = self.block_of_aggregate(aggregate_id, 0, end_block)
        return self.block(block)[aggregate_id - self.aggregates_before(block)]

    def price_before(self, market_us: int) -> int:
        """Return the price of the last aggregate before a market time; the caller knows of one."""
        last = self.aggregates_before_time(market_us) - 1
        return self.aggregate(last, block_at(market_us) + 1).price

    def span(self, start_us: int, end_us: int) -> Iterator[list[Aggregate]]:
        """Yield the aggregates between two market times, a block at a time; the end exclusive."""
        for block in range(block_at(start_us), block_at(end_us - 1) + 1):
            aggregates = self.block(block)
            yield [each for each in aggregates if start_us <= each.time_us < end_us]

    def block(self, block: int) -> list[Aggregate]:
        """Return the aggregates of one block in id order, which is also time order."""
        first = self.aggregates_before(block)
        count = self.aggregates_before(block + 1) - first
        if count <= 0:
            return []
        random = Random(mix(self._seed, 3, block))
        extra = _trades_of(first + count) - _trades_of(first) - count
        return self._trade(random, block, first, _spread_fills(random, count, extra))

    def _trade(
        self, random: Random, block: int, next_aggregate: int, fill_counts: Sequence[int]
    ) -> list[Aggregate]:
        instrument, bits = self.instrument, random.getrandbits
        tick, step, typical = instrument.tick, instrument.step, instrument.typical_steps
        block_us = ORIGIN_US + block * BLOCK_US
        start, end = self._ticks(block), self._ticks(block + 1)
        next_id = _trades_of(next_aggregate)
        offsets = _moments(random, len(fill_counts))
        out: list[Aggregate] = []
        levels_left = 0
        offset = price_ticks = 0
        is_buyer_maker = False
        for fill_count in fill_counts:
            if levels_left == 0:
                levels_left = _SWEEP[bits(3)]
                offset = offsets[len(out)]
                is_buyer_maker = bits(1) == 1
                middle = start + (end - start) * offset // BLOCK_US
                price_ticks = middle + bits(16) % (2 * self._jitter + 1) - self._jitter
            else:
                price_ticks += -1 if is_buyer_maker else 1
            levels_left -= 1
            price = max(1, price_ticks) * tick
            fills = []
            quantity = quote_quantity = 0
            for _ in range(fill_count):
                size = bits(16)
                steps = 1 + typical * (size & 1023) * (size & 1023) // 262_144
                if size >> 10 == 0:  # one in 64 is a whale
                    steps *= 25
                fill = steps * step
                fills.append(fill)
                quantity += fill
                quote_quantity += price * fill // SCALE
            out.append(
                Aggregate(
                    block_us + offset, self.number, next_aggregate, next_id,
                    price, quantity, quote_quantity, tuple(fills), is_buyer_maker,
                )
            )  # fmt: skip
            next_aggregate += 1
            next_id += fill_count
        return out

    def _ticks(self, block: int) -> int:
        return self._base_ticks * (_PPM + self._price.at(block)) // _PPM


class Market:
    """All symbols, with Zipf activity that sums to `rate` trades a second (quiet ones aside).

    With a `calm_rate`, so many trades a second until `end_calm` says when the calm ends: a day
    can pass in seconds before the market is in full swing.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        seed: int,
        rate: int,
        calm_rate: float | None = None,
    ) -> None:
        busy = [i for i, instrument in enumerate(instruments) if not instrument.quiet_per_hour]
        weights = {i: 1 / (rank + 1) ** _ZIPF_EXPONENT for rank, i in enumerate(busy)}
        total = sum(weights.values())
        self.rate = rate

        def rate_of(number: int, trades_per_second: float) -> int:
            if number not in weights:
                return _quiet_rate(instruments[number])
            return max(1, int(_aggregate_rate(trades_per_second) * weights[number] / total))

        self.symbols = [
            SymbolMarket(
                instrument, i, seed, rate_of(i, rate),
                None if calm_rate is None else rate_of(i, calm_rate),
            )
            for i, instrument in enumerate(instruments)
        ]  # fmt: skip

    def end_calm(self, block: int) -> None:
        """Let the calm end where `block` begins, which nobody has read yet."""
        for symbol in self.symbols:
            symbol.calm_until = block

    def block(self, block: int) -> list[Aggregate]:
        """Return one block of all symbols, ordered by time and in id order within a symbol."""
        out: list[Aggregate] = []
        for symbol in self.symbols:
            out += symbol.block(block)
        out.sort(key=_time_of)
        return out


def block_at(time_us: int) -> int:
    """Return the block that contains a market time."""
    return (time_us - ORIGIN_US) // BLOCK_US


def _time_of(aggregate: Aggregate) -> int:
    return aggregate.time_us


def _trades_of(aggregates: int) -> int:
    return aggregates + aggregates * _EXTRA_FILLS // _PER_AGGREGATES


def _aggregate_rate(trades_per_second: float) -> int:
    per_aggregate = 1 + _EXTRA_FILLS / _PER_AGGREGATES
    return int(trades_per_second / per_aggregate * BLOCK_US / 1_000_000 * _RATE_UNIT)


def _quiet_rate(instrument: Instrument) -> int:
    return instrument.quiet_per_hour * _RATE_UNIT // (60 * BLOCKS_PER_MINUTE)


def _spread_fills(random: Random, count: int, extra: int) -> list[int]:
    """Deal `extra` fills to `count` aggregates; a third of them go to one big order."""
    counts = [1] * count
    big = random.getrandbits(16) % count
    counts[big] += extra // 3
    for _ in range(extra - extra // 3):
        counts[random.getrandbits(16) % count] += 1
    return counts


def _moments(random: Random, count: int) -> list[int]:
    """Return `count` sorted offsets into a block; a quarter repeat the one before (a burst)."""
    moments = sorted(random.getrandbits(24) % BLOCK_US for _ in range(count))
    for i in range(1, count):
        if random.getrandbits(2) == 0:
            moments[i] = moments[i - 1]
    return moments
