"""When the exchange publishes kline frames: a snapshot every 2 s, the closing frame a bit late.

Source: binance-protocol section 2 (2000 ms cadence; closing frames 5 to 2005 ms after the close
in the recordings). Times are simulated microseconds; delays and phases are seeded.
"""

from __future__ import annotations

import heapq

from sandbox.exchange.klines import INTERVALS, MINUTE_US, Bar
from sandbox.exchange.noise import mix

_SLOT_US = 100_000
_SLOTS = 20  # 20 slots of 100 ms are the documented 2000 ms
_MIN_DELAY_US = 5_000
_MAX_DELAY_US = 2_005_000


class KlineSchedule:
    """Decides which kline frames are due; the caller asks with the present time."""

    def __init__(self, seed: int, symbols: int, now_us: int) -> None:
        self._seed = seed
        self._symbols_of_slot: list[list[int]] = [[] for _ in range(_SLOTS)]
        for symbol in range(symbols):
            self._symbols_of_slot[mix(seed, 11, symbol) % _SLOTS].append(symbol)
        self._slot = now_us // _SLOT_US
        self._closing: list[tuple[int, int, str, int, Bar]] = []
        self._pending: dict[tuple[int, str], int] = {}
        self._pushed = 0

    def close(self, symbol: int, interval: str, bar: Bar) -> None:
        """Plan the closing frame of a bar."""
        closed_us = bar.opened_at_us + INTERVALS[interval] * MINUTE_US
        spread = _MAX_DELAY_US - _MIN_DELAY_US + 1
        delay = _MIN_DELAY_US + mix(self._seed, 12, symbol, INTERVALS[interval], closed_us) % spread
        self._pushed += 1
        heapq.heappush(self._closing, (closed_us + delay, self._pushed, interval, symbol, bar))
        self._pending[symbol, interval] = self._pending.get((symbol, interval), 0) + 1

    def due_closings(self, now_us: int) -> list[tuple[int, str, Bar]]:
        """Return (symbol, interval, bar) of the closing frames due, and forget them."""
        out = []
        while self._closing and self._closing[0][0] <= now_us:
            _, _, interval, symbol, bar = heapq.heappop(self._closing)
            left = self._pending[symbol, interval] - 1
            if left:
                self._pending[symbol, interval] = left
            else:
                del self._pending[symbol, interval]
            out.append((symbol, interval, bar))
        return out

    def due_snapshots(self, now_us: int) -> list[int]:
        """Return the symbols whose 2 s have passed (once each, however late the caller is)."""
        slot = now_us // _SLOT_US
        first = max(self._slot + 1, slot - _SLOTS + 1)
        self._slot = slot
        return [s for i in range(first, slot + 1) for s in self._symbols_of_slot[i % _SLOTS]]

    def closing_pending(self, symbol: int, interval: str) -> bool:
        """Whether an earlier bar's closing frame is still to come (then no snapshot goes out)."""
        return (symbol, interval) in self._pending
