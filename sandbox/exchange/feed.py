"""The simulated market on the wire: trades, aggregates, best prices and klines as they happen.

`MarketFeed.step` is synchronous and takes the time as an argument; `run` is the loop around it.
It is one of the three sources that `server.py` can serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from sandbox.exchange.catalogue import Instrument
from sandbox.exchange.clock import SimulatedClock
from sandbox.exchange.hub import Hub
from sandbox.exchange.kline_schedule import KlineSchedule
from sandbox.exchange.klines import INTERVALS, Bar, KlineSeries
from sandbox.exchange.ledger import Ledger
from sandbox.exchange.market import Aggregate
from sandbox.exchange.payloads import (
    agg_trade_payload,
    book_ticker_payload,
    kline_payload,
    trade_payloads,
)
from sandbox.exchange.tape import Tape

# How often the market looks at the clock, and so how late an event may be on the wire.
TICK_S = 0.005
# Closed bars kept per symbol and interval: 1000 is the most that REST gives at once.
_KEEP_BARS = 5000


class _Streams:
    """The stream names of one symbol, made once."""

    def __init__(self, instrument: Instrument) -> None:
        name = instrument.symbol.lower()
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.trade = f"{name}@trade"
        self.agg_trade = f"{name}@aggTrade"
        self.book_ticker = f"{name}@bookTicker"
        self.klines = {interval: f"{name}@kline_{interval}" for interval in INTERVALS}


class MarketFeed:
    """Emits the tape's events to the hub and keeps klines and control totals.

    Args:
        tape: the market, from its first kept trade on.
        genesis_us: where the tape begins, simulated time.
        seed: of the kline frames' delays.
        hub: where messages go.
        clock: the simulated time.
    """

    mode = "simulated"
    done = False  # a market never ends, it can only be paused

    def __init__(
        self, tape: Tape, genesis_us: int, seed: int, hub: Hub, clock: SimulatedClock
    ) -> None:
        instruments = [symbol.instrument for symbol in tape.market.symbols]
        self.tape = tape
        self.trades = Ledger()
        self.agg_trades = Ledger()
        self.emitted_trades = 0
        self._hub = hub
        self._clock = clock
        self._streams = [_Streams(instrument) for instrument in instruments]
        self._schedule = KlineSchedule(seed, len(instruments), genesis_us)
        self._series = [
            KlineSeries(genesis_us, tape.previous_price(i), _KEEP_BARS)
            for i in range(len(instruments))
        ]
        self._next_minute_us = 0
        self._published: dict[str, tuple[int, int]] = {}  # stream: open time, trades

    @property
    def instruments(self) -> Sequence[Instrument]:
        """The trading symbols, in the market's order."""
        return [streams.instrument for streams in self._streams]

    def klines(self, symbol: int, interval: str, *, closed_only: bool = False) -> list[Bar]:
        """Return the kept bars of a symbol, oldest first, the forming one last."""
        series = self._series[symbol]
        bars = list(series.closed(interval))
        return bars if closed_only else [*bars, series.current(interval)]

    def start(self) -> None:
        """Nothing to do: the market is always open."""

    def details(self) -> dict[str, object]:
        """Return the market's part of /sim/status."""
        return {"paused": self.tape.timeline.paused, "emitted_trades": self.emitted_trades}

    async def run(self) -> None:
        """Emit the market for ever (until cancelled)."""
        while True:
            while not self.step(self._clock.now_us()):
                self._hub.flush()
                await asyncio.sleep(0)
            self._hub.flush()
            await asyncio.sleep(TICK_S)

    def catch_up(self, now_us: int) -> None:
        """Emit everything before `now_us` at once: the history, before anyone is connected."""
        while not self.step(now_us):
            pass

    def step(self, now_us: int) -> bool:
        """Emit what happened before `now_us`; returns whether that point is reached.

        Emits a bounded number of events at once, so that a late loop still flushes.
        """
        events, reached = self.tape.advance(now_us)
        for event in events:
            self._emit(event, now_us)
        if reached:
            self._roll(now_us)
            self._publish_klines(now_us)
        return reached

    def _emit(self, event: Aggregate, now_us: int) -> None:
        streams, hub = self._streams[event.symbol], self._hub
        symbol = streams.symbol
        count = len(event.fills)
        self.emitted_trades += count
        for interval, bar in self._series[event.symbol].add(event):
            self._schedule.close(event.symbol, interval, bar)
        sent = hub.publish(streams.trade, lambda unit: trade_payloads(event, symbol, now_us, unit))
        quantity, quote = event.quantity, event.quote_quantity
        self.trades.happened(symbol, event.first_id, count, quantity, quote, sent)
        sent = hub.publish(
            streams.agg_trade, lambda unit: [agg_trade_payload(event, symbol, now_us, unit)]
        )
        self.agg_trades.happened(symbol, event.aggregate_id, 1, quantity, quote, sent)
        hub.publish(
            streams.book_ticker, lambda _unit: [book_ticker_payload(event, streams.instrument)]
        )

    def _roll(self, now_us: int) -> None:
        if now_us < self._next_minute_us:
            return
        self._next_minute_us = now_us - now_us % 60_000_000 + 60_000_000
        for symbol, series in enumerate(self._series):
            for interval, bar in series.roll(now_us):
                self._schedule.close(symbol, interval, bar)

    def _publish_klines(self, now_us: int) -> None:
        for symbol, interval, bar in self._schedule.due_closings(now_us):
            self._publish_kline(symbol, interval, bar, True, now_us)
        if self._clock.is_hurrying:
            return  # forming klines are for eyes that could follow them
        for symbol in self._schedule.due_snapshots(now_us):
            self._publish_snapshots(symbol, now_us)

    def _publish_snapshots(self, symbol: int, now_us: int) -> None:
        for interval, stream in self._streams[symbol].klines.items():
            if not self._hub.has_subscribers(stream):
                continue
            if self._schedule.closing_pending(symbol, interval):
                continue
            bar = self._series[symbol].current(interval)
            state = (bar.opened_at_us, bar.trades)
            if bar.trades and self._published.get(stream) != state:
                self._published[stream] = state
                self._publish_kline(symbol, interval, bar, False, now_us)

    def _publish_kline(
        self, symbol: int, interval: str, bar: Bar, closed: bool, now_us: int
    ) -> None:
        streams = self._streams[symbol]
        encode = partial(kline_payload, bar, streams.symbol, interval, closed, now_us)
        self._hub.publish(streams.klines[interval], lambda unit: [encode(unit)])
