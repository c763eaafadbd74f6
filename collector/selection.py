"""Which symbols to collect, told from an exchangeInfo answer; no I/O.

Source: binance-protocol, section 4 (exchangeInfo, symbol status).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import msgspec


class _Entry(msgspec.Struct, rename="camel"):
    symbol: str
    status: str = ""
    quote_asset: str = ""


_ENTRY = msgspec.json.Decoder(_Entry)


class SelectionError(ValueError):
    """No symbol, or a wrong one, was chosen."""


def select_symbols(
    entries: Iterable[bytes], symbols: tuple[str, ...], quote_assets: tuple[str, ...]
) -> list[str]:
    """Return the symbols to collect, in exchangeInfo's order.

    Args:
        entries: the symbols' entries of exchangeInfo; those that can't be read are left out.
        symbols: the list to collect; empty for all TRADING symbols of `quote_assets`.
        quote_assets: quote assets; ("*",) for all.

    Raises:
        SelectionError: a listed symbol is unknown to the exchange, or nothing is TRADING.
    """
    known = {entry.symbol: entry for entry in _readable(entries)}
    if symbols:
        unknown = [symbol for symbol in symbols if symbol not in known]
        if unknown:
            raise SelectionError(
                f"BINANCE_SYMBOLS: the exchange has no symbol {', '.join(unknown)};"
                " look it up in /api/v3/exchangeInfo"
            )
        return [symbol for symbol in known if symbol in set(symbols)]
    chosen = [
        symbol
        for symbol, entry in known.items()
        if entry.status == "TRADING" and ("*" in quote_assets or entry.quote_asset in quote_assets)
    ]
    if not chosen:
        raise SelectionError(
            f"BINANCE_QUOTE_ASSETS: no TRADING symbol is quoted in {', '.join(quote_assets)};"
            " write for example USDT"
        )
    return chosen


def _readable(entries: Iterable[bytes]) -> Iterator[_Entry]:
    for entry in entries:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            yield _ENTRY.decode(entry)
