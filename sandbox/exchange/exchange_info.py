"""The answer of /api/v3/exchangeInfo, in the shape of a recorded one of 2026-07."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sandbox.exchange.catalogue import Instrument
from sandbox.exchange.fixed_point import format_fixed
from sandbox.exchange.limits import Limits
from sandbox.exchange.listings import STATUSES
from sandbox.exchange.rest_rules import Query, RestError, checked_symbol, invalid_symbol

PARAMETERS = frozenset({"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"})
# Documented weight when the limit is off: a client reads it and must find a number.
_DOCUMENTED_WEIGHT = 6000


def exchange_info(
    instruments: Sequence[Instrument], limits: Limits, now_ms: int
) -> dict[str, object]:
    """Return the whole answer for the chosen instruments; `now_ms` is in the answer's unit."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": _rate_limits(limits),
        "exchangeFilters": [],
        "symbols": [_symbol(instrument) for instrument in instruments],
    }


def choose(instruments: Mapping[str, Instrument], query: Query) -> list[Instrument]:
    """Return the instruments a request asks for; `permissions` does not narrow them.

    Raises:
        RestError: unknown symbol or status, malformed list, or parameters that exclude each other.
    """
    symbol, symbols, status = (
        query.text("symbol"),
        query.text("symbols"),
        query.text("symbolStatus"),
    )
    if sum(value is not None for value in (symbol, symbols, status)) > 1:
        raise RestError(-1128, "Combination of optional parameters invalid.")
    if status is not None:
        if status not in STATUSES:
            raise RestError(-1122, "Invalid symbolStatus.")
        return [i for i in instruments.values() if i.status == status]
    if symbols is not None:
        return _named(instruments, _symbol_list(symbols))
    if symbol is not None:
        return _named(instruments, [query.mandatory("symbol")])
    return list(instruments.values())


def _named(instruments: Mapping[str, Instrument], names: Sequence[str]) -> list[Instrument]:
    for name in names:
        if checked_symbol(name) not in instruments:
            raise invalid_symbol()
    return [instruments[name] for name in names]


def _symbol_list(text: str) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        legal = r"^\[(\"[\w\-._&&[^a-z]]{1,50}\"(,\"[\w\-._&&[^a-z]]{1,50}\"){0,}){0,1}\]$"
        message = f"Illegal characters found in parameter 'symbols'; legal range is '{legal}'."
        raise RestError(-1100, message)
    if len(set(names)) != len(names):
        raise RestError(-1151, "Symbol is present multiple times in the list.")
    return names


def _rate_limits(limits: Limits) -> list[dict[str, object]]:
    weight = limits.weight_per_minute or _DOCUMENTED_WEIGHT
    rows = (
        ("REQUEST_WEIGHT", "MINUTE", 1, weight),
        ("ORDERS", "SECOND", 10, 100),
        ("ORDERS", "DAY", 1, 200_000),
        ("RAW_REQUESTS", "MINUTE", 5, 300_000),
    )
    names = ("rateLimitType", "interval", "intervalNum", "limit")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _symbol(instrument: Instrument) -> dict[str, object]:
    trading = instrument.status == "TRADING"
    return {
        "symbol": instrument.symbol,
        "status": instrument.status,
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [
            "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT",
            "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
        ],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": trading,
        "isMarginTradingAllowed": False,
        "filters": _filters(instrument),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": [
            "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER",
        ],
    }  # fmt: skip


def _filters(instrument: Instrument) -> list[dict[str, object]]:
    tick, step = format_fixed(instrument.tick), format_fixed(instrument.step)
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": tick,
            "maxPrice": format_fixed(instrument.tick * 10**8),
            "tickSize": tick,
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": step,
            "maxQty": format_fixed(instrument.step * 10**9),
            "stepSize": step,
        },
        {"filterType": "ICEBERG_PARTS", "limit": 100},
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]
