"""Reads the trades out of recorded frames for the witness's control totals.

A parser of its own, on purpose: it is what the platform's decoder is compared with. A trade
counts when a consumer can book it exactly: an integer id, a price and a quantity that are plain
positive decimals of at most 8 decimals. An invalidated aggregate (price 0) does not count.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from sandbox.exchange.fixed_point import multiply_truncated, parse_fixed

# Integer digits of BigQuery NUMERIC: beyond them no table can hold the number.
_MAX_VALUE = 10 ** (29 + 8)
_ID_FIELDS: dict[str, Literal["t", "a"]] = {"trade": "t", "aggTrade": "a"}


@dataclass(frozen=True, slots=True)
class RecordedTrade:
    """A trade or aggregate trade; quantities scaled by 10^8."""

    event: Literal["trade", "aggTrade"]
    symbol: str
    item_id: int
    quantity: int
    quote_quantity: int


def trade_of(message: bytes) -> RecordedTrade | None:
    """Return the trade that a combined or bare frame carries, or None for anything else."""
    if b"rade" not in message:
        return None
    try:
        payload = json.loads(message)
        if "stream" in payload:
            payload = payload["data"]
        event = payload["e"]
        if event not in _ID_FIELDS:
            return None
        symbol, item_id = payload["s"], payload[_ID_FIELDS[event]]
        price, quantity = parse_fixed(payload["p"]), parse_fixed(payload["q"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(symbol, str) or type(item_id) is not int or item_id < 0:
        return None
    if not 0 < price < _MAX_VALUE or not 0 < quantity < _MAX_VALUE:
        return None
    return RecordedTrade(event, symbol, item_id, quantity, multiply_truncated(price, quantity))
