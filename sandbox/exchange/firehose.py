"""Benchmark source: N trade messages, made and framed beforehand, sent as fast as taken.

It sends to the first connection that subscribes to anything, whatever it subscribed to, in
combined form, in large writes that bypass every per-message cost (and the fault seam), so that
the server is never the bottleneck: each trade of the seeded market once, ids consecutive per
symbol. Memory is about 180 bytes a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from sandbox.exchange.catalogue import Instrument
from sandbox.exchange.fixed_point import multiply_truncated
from sandbox.exchange.frames import frame
from sandbox.exchange.hub import Connection, Hub
from sandbox.exchange.ledger import Ledger
from sandbox.exchange.market import Aggregate, Market, block_at
from sandbox.exchange.payloads import MILLISECOND, envelope, trade_payloads

_CHUNK_BYTES = 256 * 1024
_HIGH_WATER_BYTES = 2 * 1024 * 1024


class Firehose:
    """The first `count` trades of the market from `start_us` on, as one burst."""

    mode = "firehose"

    def __init__(self, market: Market, count: int, start_us: int, hub: Hub) -> None:
        self.trades = Ledger()
        self.agg_trades = Ledger()
        self.instruments: list[Instrument] = [symbol.instrument for symbol in market.symbols]
        self.done = False
        self.messages = count
        self._hub = hub
        self._chunks = list(_chunks(self._frames(market, count, start_us)))

    async def run(self) -> None:
        """Wait for the first subscriber and send it everything."""
        while (connection := self._subscriber()) is None:
            self._hub.changed.clear()
            await self._hub.changed.wait()
        for chunk in self._chunks:
            connection.queue_frames(chunk)
            connection.flush()
            await asyncio.sleep(0)
            await connection.drained(_HIGH_WATER_BYTES)
        self._hub.sent_messages += self.messages
        self.done = True

    def start(self) -> None:
        """Nothing to do: the first subscription starts the burst."""

    def details(self) -> dict[str, object]:
        """Return the firehose's part of /sim/status."""
        return {"frames_total": self.messages}

    def _subscriber(self) -> Connection | None:
        return next((c for c in self._hub.live_connections() if c.session.streams), None)

    def _frames(self, market: Market, count: int, start_us: int) -> Iterator[bytes]:
        left = count
        block = block_at(start_us)
        while left > 0:
            for aggregate in market.block(block):
                cut = _first_fills(aggregate, left)
                left -= len(cut.fills)
                yield from self._frames_of(cut)
                if left == 0:
                    return
            block += 1

    def _frames_of(self, aggregate: Aggregate) -> Iterator[bytes]:
        symbol = self.instruments[aggregate.symbol].symbol
        stream = f"{symbol.lower()}@trade"
        self.trades.happened(
            symbol, aggregate.first_id, len(aggregate.fills), aggregate.quantity,
            aggregate.quote_quantity, 1,
        )  # fmt: skip
        for payload in trade_payloads(aggregate, symbol, aggregate.time_us, MILLISECOND):
            yield frame(envelope(stream, payload))


def _first_fills(aggregate: Aggregate, count: int) -> Aggregate:
    if len(aggregate.fills) <= count:
        return aggregate
    fills = aggregate.fills[:count]
    quote = sum(multiply_truncated(aggregate.price, quantity) for quantity in fills)
    return aggregate._replace(fills=fills, quantity=sum(fills), quote_quantity=quote)


def _chunks(frames: Iterator[bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for one in frames:
        chunk += one
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)
