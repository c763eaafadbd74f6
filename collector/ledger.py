"""The ledger: control totals of everything ever made durable, by market, channel and symbol."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext

from msgspec.structs import astuple

from market_data.frames import FrameHeader, HeaderTotals
from market_data.numbers import EXACT

_Group = tuple[str, str]


@dataclass(slots=True)
class Position:
    """Control totals of one market, channel and symbol.

    `last_id` is the last id made durable: where a restarted collector continues. The sums of
    quantities are None as soon as one frame came without them.
    """

    market: str
    channel: str
    symbol: str
    first_id: int
    last_id: int
    count: int
    sum_ids: int
    sum_quantity: Decimal | None
    sum_quote_quantity: Decimal | None

    def add(self, totals: HeaderTotals) -> None:
        """Add the totals of one more frame."""
        if totals.first_id < self.first_id:
            self.first_id = totals.first_id
        if totals.last_id > self.last_id:
            self.last_id = totals.last_id
        self.count += totals.count
        self.sum_ids += totals.sum_ids
        if self.sum_quantity is not None or self.sum_quote_quantity is not None:
            self.sum_quantity = _add(self.sum_quantity, totals.sum_quantity)
            self.sum_quote_quantity = _add(self.sum_quote_quantity, totals.sum_quote_quantity)


class Ledger:
    """Positions by key; one thread adds, others may read `positions`."""

    def __init__(self, positions: Iterable[Position] = ()) -> None:
        self._groups: dict[_Group, dict[str, Position]] = {}
        self._changed: dict[_Group, set[str]] = {}
        self._lock = threading.Lock()
        for position in positions:
            group = self._groups.setdefault((position.market, position.channel), {})
            group[position.symbol] = position

    def add(self, headers: Iterable[FrameHeader]) -> None:
        """Add the totals of these frames."""
        with self._lock:
            for header in headers:
                key = (header.market, header.channel)
                self._changed.setdefault(key, set()).update(header.symbols)
                group = self._groups.setdefault(key, {})
                for symbol, totals in header.symbols.items():
                    position = group.get(symbol)
                    if position is None:
                        group[symbol] = Position(*key, symbol, *astuple(totals))
                    else:
                        position.add(totals)

    def positions(self) -> list[Position]:
        """Return copies of all positions."""
        with self._lock:
            return [copy.copy(each) for group in self._groups.values() for each in group.values()]

    def changed(self) -> list[Position]:
        """Return the positions that changed since `settle`."""
        return [self._groups[key][name] for key, names in self._changed.items() for name in names]

    def settle(self) -> None:
        """Take all positions for unchanged."""
        self._changed.clear()


def _add(total: Decimal | None, value: Decimal | None) -> Decimal | None:
    """Add exactly; a total that misses a part is no total."""
    if value is None or total is None:
        return None
    with localcontext(EXACT):
        return total + value
