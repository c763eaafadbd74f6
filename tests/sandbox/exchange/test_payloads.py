import json

import pytest

from sandbox.exchange.catalogue import trading_instruments
from sandbox.exchange.klines import Bar
from sandbox.exchange.market import Aggregate
from sandbox.exchange.payloads import (
    MICROSECOND,
    MILLISECOND,
    agg_trade_payload,
    agg_trade_row,
    book_ticker_payload,
    envelope,
    kline_payload,
    kline_row,
    server_shutdown_payload,
    trade_payloads,
    trade_rows,
)

T_US = 1_790_000_040_123_456
AGGREGATE = Aggregate(
    time_us=T_US, symbol=0, aggregate_id=70, first_id=100, price=6_725_012_000_000,
    quantity=300_000, quote_quantity=20_175_036_000, fills=(100_000, 200_000), is_buyer_maker=True,
)  # fmt: skip
BAR = Bar(1_790_000_040_000_000, 4, 9, 3, 5, 60, 70, 20, 30, 100, 101, 2)


def test_a_trade_for_each_fill() -> None:
    assert trade_payloads(AGGREGATE, "BTCUSDT", T_US + 2000, MILLISECOND) == [
        b'{"e":"trade","E":1790000040125,"s":"BTCUSDT","t":100,"p":"67250.12000000",'
        b'"q":"0.00100000","T":1790000040123,"m":true,"M":true}',
        b'{"e":"trade","E":1790000040125,"s":"BTCUSDT","t":101,"p":"67250.12000000",'
        b'"q":"0.00200000","T":1790000040123,"m":true,"M":true}',
    ]


def test_the_event_is_never_before_the_trade() -> None:
    [payload, _] = trade_payloads(AGGREGATE, "BTCUSDT", T_US - 5000, MICROSECOND)
    assert json.loads(payload)["E"] == json.loads(payload)["T"] == T_US


def test_the_aggregate_of_them() -> None:
    assert agg_trade_payload(AGGREGATE, "BTCUSDT", T_US, MILLISECOND) == (
        b'{"e":"aggTrade","E":1790000040123,"s":"BTCUSDT","a":70,"p":"67250.12000000",'
        b'"q":"0.00300000","f":100,"l":101,"T":1790000040123,"m":true,"M":true}'
    )


def test_a_closed_kline() -> None:
    assert kline_payload(BAR, "BTCUSDT", "1m", True, T_US, MILLISECOND) == (
        b'{"e":"kline","E":1790000040123,"s":"BTCUSDT","k":{"t":1790000040000,"T":1790000099999,'
        b'"s":"BTCUSDT","i":"1m","f":100,"L":101,"o":"0.00000004","c":"0.00000005",'
        b'"h":"0.00000009","l":"0.00000003","v":"0.00000060","n":2,"x":true,"q":"0.00000070",'
        b'"V":"0.00000020","Q":"0.00000030","B":"0"}}'
    )


@pytest.mark.parametrize(
    ("unit", "closes"), [(MILLISECOND, 1790000099999), (MICROSECOND, 1790000099999999)]
)
def test_a_bar_closes_one_unit_before_the_next(unit: int, closes: int) -> None:
    assert kline_row(BAR, "1m", unit)[6] == closes


def test_the_book_ticker_names_no_event_and_no_time() -> None:
    instrument = trading_instruments(1)[0]
    payload = json.loads(book_ticker_payload(AGGREGATE, instrument))
    assert list(payload) == ["u", "s", "b", "B", "a", "A"]
    assert payload["b"] == "67250.12000000"
    assert payload["a"] == "67250.13000000"
    following = json.loads(book_ticker_payload(AGGREGATE._replace(aggregate_id=71), instrument))
    assert following["u"] > payload["u"]


def test_rest_rows() -> None:
    assert trade_rows(AGGREGATE, MILLISECOND)[1] == {
        "id": 101, "price": "67250.12000000", "qty": "0.00200000", "quoteQty": "134.50024000",
        "time": 1790000040123, "isBuyerMaker": True, "isBestMatch": True,
    }  # fmt: skip
    assert list(agg_trade_row(AGGREGATE, MILLISECOND)) == ["a", "p", "q", "f", "l", "T", "m", "M"]


def test_envelopes_and_the_shutdown_notice() -> None:
    notice = server_shutdown_payload(1_770_123_456_789_000, MILLISECOND)
    assert notice == b'{"e":"serverShutdown","E":1770123456789}'
    assert envelope("币@trade", b"{}").decode() == '{"stream":"币@trade","data":{}}'
