"""Symbols: an entry of exchangeInfo made flat, so that a layout can name its keys.

Source: binance-protocol, section 4; Binance's document "Filters".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from market_data.rejections import Reason, Rejected

# The filters that become columns, and the one key that is read of each. NOTIONAL has replaced
# MIN_NOTIONAL; recorded answers have either.
_FILTER_KEYS: Final = {
    "PRICE_FILTER": "tickSize",
    "LOT_SIZE": "stepSize",
    "MIN_NOTIONAL": "minNotional",
    "NOTIONAL": "minNotional",
}
_ACCOUNT_GROUP: Final = "TRD_GRP_"


def flatten(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with the values of its filters beside its own keys, permissions as a text.

    Raises:
        Rejected: filters or permissions are not what Binance documents.
    """
    return {**entry, **_filter_values(entry), "permissions": _permissions(entry)}


def _filter_values(entry: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in _list(entry, "filters"):
        if not isinstance(each, dict):
            raise Rejected(Reason.WRONG_TYPE, "expected a JSON object", field="filters", value=each)
        key = _FILTER_KEYS.get(str(each.get("filterType")))
        if key is None:
            continue
        if key not in each:
            raise Rejected(
                Reason.MISSING_KEY, f"expected it in {each['filterType']}", field=key, value=each
            )
        if key in values:
            raise Rejected(Reason.DUPLICATE_KEY, "two filters have it", field=key, value=each[key])
        values[key] = each[key]
    return values


def _permissions(entry: Mapping[str, Any]) -> str:
    """Return permissions such as SPOT,MARGIN: of each set, separated by semicolons, one is needed.

    `permissions` is what permissionSets was before 2024-04-02: a single set, empty since.
    """
    key = "permissionSets" if "permissionSets" in entry else "permissions"
    sets = _list(entry, key)
    if key == "permissions":
        sets = [sets]
    return ";".join(filter(None, (",".join(_names(each, key)) for each in sets)))


def _names(names: object, key: str) -> Iterator[str]:
    if not isinstance(names, list):
        raise Rejected(Reason.WRONG_TYPE, "expected a list of names", field=key, value=names)
    for name in names:
        if not isinstance(name, str):
            raise Rejected(Reason.WRONG_TYPE, "expected a name", field=key, value=name)
        if not name.startswith(_ACCOUNT_GROUP):
            yield name


def _list(entry: Mapping[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    if not isinstance(value, list):
        raise Rejected(
            Reason.MISSING_KEY if key not in entry else Reason.WRONG_TYPE,
            "expected a list",
            field=key,
            value=value,
        )
    return value
