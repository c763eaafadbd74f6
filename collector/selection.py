"""Which symbols to collect, told from an exchangeInfo answer; no I/O.

Source: binance-protocol, section 4 (exchangeInfo, symbol status).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SelectionError(ValueError):
    """No symbol, or a wrong one, was chosen."""


def select_symbols(
    exchange_info: Mapping[str, Any], symbols: tuple[str, ...], quote_assets: tuple[str, ...]
) -> list[str]:
    """Return the symbols to collect, in exchangeInfo's order.

    Args:
        exchange_info: the parsed answer of /api/v3/exchangeInfo.
        symbols: the list to collect; empty for all TRADING symbols of `quote_assets`.
        quote_assets: quote assets; ("*",) for all.

    Raises:
        SelectionError: a listed symbol is unknown to the exchange, or nothing is TRADING.
    """
    known = {entry["symbol"]: entry for entry in exchange_info.get("symbols", ())}
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
        if entry.get("status") == "TRADING"
        and ("*" in quote_assets or entry.get("quoteAsset") in quote_assets)
    ]
    if not chosen:
        raise SelectionError(
            f"BINANCE_QUOTE_ASSETS: no TRADING symbol is quoted in {', '.join(quote_assets)};"
            " write for example USDT"
        )
    return chosen
