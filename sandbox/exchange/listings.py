"""What exchangeInfo lists: the instruments of the start, and what /sim/* has made of them since.

Only the list changes. The streams carry what the market trades, whatever is listed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from sandbox.exchange.catalogue import Instrument, recorded_instrument

STATUSES = ("TRADING", "END_OF_DAY", "HALT", "BREAK", "CANCEL_ONLY")


class Listings:
    """The listed instruments by symbol, in the order in which they were listed."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._instruments = {instrument.symbol: instrument for instrument in instruments}

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """The listed instruments; changes show in it."""
        return MappingProxyType(self._instruments)

    def set_status(self, symbol: str, status: str) -> None:
        """Give a symbol a status; list it if it is not.

        Raises:
            ValueError: the exchange knows no such status, or the symbol is no name.
        """
        if status not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES)}, was {status!r}")
        if not symbol.isalnum() or symbol != symbol.upper():
            raise ValueError(f"symbol: expected a name like BTCUSDT, was {symbol!r}")
        known = self._instruments.get(symbol) or recorded_instrument(symbol)
        self._instruments[symbol] = dataclasses.replace(known, status=status)

    def delist(self, symbol: str) -> None:
        """Take a symbol off the list.

        Raises:
            ValueError: it is not listed.
        """
        if symbol not in self._instruments:
            raise ValueError(f"symbol: {symbol!r} is not listed; see /api/v3/exchangeInfo")
        del self._instruments[symbol]
