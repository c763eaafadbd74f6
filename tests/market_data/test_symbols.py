from typing import Any

import pytest

from market_data.rejections import Reason, Rejected
from market_data.symbols import flatten

ENTRY: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "filters": [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "stepSize": "0.1"},
        {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.0"},
        {"filterType": "NOTIONAL", "minNotional": "5"},
        {"filterType": "NEW_FILTER"},
    ],
    "permissions": [],
    "permissionSets": [["SPOT", "TRD_GRP_004", "MARGIN"]],
}


def test_filters_and_permissions_stand_beside_the_entry_s_own_keys() -> None:
    assert flatten(ENTRY) == ENTRY | {
        "tickSize": "0.01", "stepSize": "0.1", "minNotional": "5", "permissions": "SPOT,MARGIN",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "permissions"),
    [
        ({"permissionSets": []}, ""),
        ({"permissionSets": [["TRD_GRP_1"]]}, ""),
        ({"permissionSets": [["A", "B"], ["C"]], "permissions": ["D"]}, "A,B;C"),
    ],
)
def test_one_of_each_set_is_needed(change: dict[str, Any], permissions: str) -> None:
    assert flatten(ENTRY | change)["permissions"] == permissions


def test_before_2024_there_was_one_set() -> None:
    old = {key: value for key, value in ENTRY.items() if key != "permissionSets"}
    assert flatten(old | {"permissions": ["SPOT", "MARGIN"]})["permissions"] == "SPOT,MARGIN"


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"filters": {}}, Reason.WRONG_TYPE, "filters"),
        ({"filters": [7]}, Reason.WRONG_TYPE, "filters"),
        ({"filters": [{"filterType": "LOT_SIZE"}]}, Reason.MISSING_KEY, "stepSize"),
        ({"filters": 2 * ENTRY["filters"]}, Reason.DUPLICATE_KEY, "tickSize"),
        ({"permissionSets": "SPOT"}, Reason.WRONG_TYPE, "permissionSets"),
        ({"permissionSets": ["SPOT"]}, Reason.WRONG_TYPE, "permissionSets"),
        ({"permissionSets": [[1]]}, Reason.WRONG_TYPE, "permissionSets"),
    ],
)
def test_what_binance_does_not_document_is_named(
    change: dict[str, Any], reason: Reason, field: str
) -> None:
    with pytest.raises(Rejected) as caught:
        flatten(ENTRY | change)
    assert (caught.value.reason, caught.value.field) == (reason, field)


@pytest.mark.parametrize("key", ["filters", "permissions"])
def test_a_missing_list_is_named(key: str) -> None:
    entry = {name: value for name, value in ENTRY.items() if name not in (key, "permissionSets")}
    with pytest.raises(Rejected) as caught:
        flatten(entry)
    assert (caught.value.reason, caught.value.field) == (Reason.MISSING_KEY, key)
