"""Exact numbers: what a Binance decimal may look like, and the truncated quote quantity.

BigQuery NUMERIC holds 29 integer digits and 9 decimals; a value that it cannot hold exactly is
refused, never rounded.
"""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, Context, Decimal, localcontext

NUMERIC_PRECISION = 38
NUMERIC_SCALE = 9

# Two NUMERICs multiplied need 76 digits; the default context would round to 28.
EXACT = Context(prec=80)

_DECIMAL = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_QUOTE_STEP = Decimal("0.00000001")
_NUMERIC_CHARS = NUMERIC_PRECISION + 1  # and a point
_NUMERIC_STEP = Decimal(1).scaleb(-NUMERIC_SCALE)
_NUMERIC_LIMIT = Decimal(10) ** (NUMERIC_PRECISION - NUMERIC_SCALE)


def fits_numeric(value: Decimal) -> bool:
    """Tell whether BigQuery NUMERIC holds `value` exactly."""
    if not value.is_finite() or value.copy_abs() >= _NUMERIC_LIMIT:
        return False
    with localcontext(EXACT):
        return value == value.quantize(_NUMERIC_STEP, ROUND_DOWN)


def parse_decimal(text: str) -> Decimal:
    """Parse a non-negative plain decimal such as "0.00068000".

    Raises:
        ValueError: `text` is no plain decimal (a sign, an exponent, spaces, NaN) or NUMERIC
            cannot hold it exactly.
    """
    if len(text) > 100 or not _DECIMAL.fullmatch(text):
        raise ValueError("expected a plain decimal such as 0.00068000")
    value = Decimal(text)
    if not fits_numeric(value):
        raise ValueError("has more than 29 integer digits or 9 decimals")
    if len(text) <= _NUMERIC_CHARS:
        return value
    with localcontext(EXACT):  # zeros in front or at the end: more digits than Arrow takes
        return value.quantize(_NUMERIC_STEP)


def quote_quantity(price: Decimal, quantity: Decimal) -> Decimal:
    """Return price x quantity truncated to 8 decimals.

    Binance truncates `quoteQty`, it does not round it (measured on 1,000 of 1,000 recorded
    ETHBTC trades).
    """
    with localcontext(EXACT):
        return (price * quantity).quantize(_QUOTE_STEP, rounding=ROUND_DOWN)
