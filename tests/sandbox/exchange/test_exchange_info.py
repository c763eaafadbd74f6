import json
from pathlib import Path

import pytest

from sandbox.exchange.catalogue import Instrument, delisted_instruments, trading_instruments
from sandbox.exchange.exchange_info import PARAMETERS, choose, exchange_info
from sandbox.exchange.limits import Limits
from sandbox.exchange.rest_rules import Query, RestError

ALL = {i.symbol: i for i in [*trading_instruments(5), *delisted_instruments()]}


def chosen(**values: str) -> list[Instrument]:
    return choose(ALL, Query(values.items(), PARAMETERS))


def test_symbols_are_chosen_by_name_list_or_status() -> None:
    assert len(chosen()) == len(ALL)
    assert [i.symbol for i in chosen(symbol="BTCUSDT")] == ["BTCUSDT"]
    assert [i.symbol for i in chosen(symbols='["ETHUSDT","BTCUSDT"]')] == ["ETHUSDT", "BTCUSDT"]
    assert {i.status for i in chosen(symbolStatus="BREAK")} == {"BREAK"}
    assert len(chosen(permissions="SPOT", showPermissionSets="true")) == len(ALL)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"symbol": "NOPE"}, -1121),
        ({"symbol": "nope"}, -1100),
        ({"symbols": "BTCUSDT"}, -1100),
        ({"symbols": "[]"}, -1100),
        ({"symbols": '["BTCUSDT","NOPE"]'}, -1121),
        ({"symbols": '["BTCUSDT","BTCUSDT"]'}, -1151),
        ({"symbolStatus": "CLOSED"}, -1122),
        ({"symbol": "BTCUSDT", "symbolStatus": "TRADING"}, -1128),
    ],
)
def test_refusals(values: dict[str, str], code: int) -> None:
    with pytest.raises(RestError) as raised:
        chosen(**values)
    assert raised.value.body["code"] == code


def test_the_limit_that_holds_is_announced() -> None:
    info = json.loads(json.dumps(exchange_info([], Limits(weight_per_minute=77), 5)))
    assert info["rateLimits"][0]["limit"] == 77
    assert info["serverTime"] == 5


def test_the_shape_is_the_recorded_one(recorded: Path) -> None:
    real = json.loads((recorded / "rest" / "exchangeInfo-2026-07-03.json").read_text())
    ours = json.loads(json.dumps(exchange_info(chosen(symbol="BTCUSDT"), Limits(), 5)))
    assert list(ours) == list(real)
    assert ours["rateLimits"] == real["rateLimits"]
    assert list(ours["symbols"][0]) == list(real["symbols"][0])
    real_filters = {f["filterType"]: list(f) for f in real["symbols"][0]["filters"]}
    for one in ours["symbols"][0]["filters"]:
        assert list(one) == real_filters[one["filterType"]]
