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
    """Return the TRADING symbols to collect, in exchangeInfo's order.

    Args:
        entries: the symbols' entries of exchangeInfo; those that can't be read are left out.
        symbols: the list to choose from; empty for all symbols of `quote_assets`.
        quote_assets: quote assets; ("*",) for all.

    Raises:
        SelectionError: the exchange knows none of `symbols`, or nothing is TRADING.
    """
    known = list(_readable(entries))
    if symbols:
        chosen = [entry for entry in known if entry.symbol in set(symbols)]
        if not chosen:
            raise SelectionError(
                f"BINANCE_SYMBOLS: the exchange has no symbol {', '.join(symbols)};"
                " look it up in /api/v3/exchangeInfo"
            )
        return _trading(chosen)
    quoted = [entry for entry in known if "*" in quote_assets or entry.quote_asset in quote_assets]
    trading = _trading(quoted)
    if not trading:
        raise SelectionError(
            f"BINANCE_QUOTE_ASSETS: no TRADING symbol is quoted in {', '.join(quote_assets)};"
            " write for example USDT"
        )
    return trading


def unknown_symbols(entries: Iterable[bytes], symbols: tuple[str, ...]) -> list[str]:
    """Return those of `symbols` that exchangeInfo does not list."""
    known = {entry.symbol for entry in _readable(entries)}
    return [symbol for symbol in symbols if symbol not in known]


def _trading(entries: Iterable[_Entry]) -> list[str]:
    return [entry.symbol for entry in entries if entry.status == "TRADING"]


def _readable(entries: Iterable[bytes]) -> Iterator[_Entry]:
    for entry in entries:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            yield _ENTRY.decode(entry)
