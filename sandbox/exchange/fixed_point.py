"""Exact decimals as integers scaled by 10^8, the precision of Binance's spot market.

Used by everything in the exchange that touches a price or a quantity; no float ever does.
"""

from __future__ import annotations

SCALE = 10**8


def parse_fixed(text: str) -> int:
    """Return the scaled integer of a plain non-negative decimal with at most 8 decimals.

    Raises:
        ValueError: `text` is anything else (a sign, an exponent, more decimals).
    """
    whole, _, fraction = text.partition(".")
    if not (whole + fraction).isascii() or not (whole + fraction).isdigit():
        raise ValueError(f"expected a plain decimal such as 0.00100000, was {text!r}")
    fraction = fraction.rstrip("0")
    if len(fraction) > 8:
        raise ValueError(f"expected at most 8 decimals, was {text!r}")
    return int(whole or "0") * SCALE + int(fraction.ljust(8, "0"))


def format_fixed(value: int) -> str:
    """Return the decimal string of a non-negative scaled integer, padded to 8 decimals."""
    return f"{value // SCALE}.{value % SCALE:08d}"


def multiply_truncated(price: int, quantity: int) -> int:
    """Return price x quantity truncated to 8 decimals, as Binance computes `quoteQty`.

    Source: binance-protocol section 2, measured on 1,000 of 1,000 recorded ETHBTC trades.
    """
    return price * quantity // SCALE
