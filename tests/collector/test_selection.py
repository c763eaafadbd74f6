import json
from pathlib import Path

import pytest

from collector.exchange_info import split_entries
from collector.selection import SelectionError, select_symbols, unknown_symbols

INFO = [
    b'{"symbol":"BTCUSDT","status":"TRADING","quoteAsset":"USDT"}',
    b'{"symbol":"OLDUSDT","status":"BREAK","quoteAsset":"USDT"}',
    b'{"symbol":"ETHBTC","status":"TRADING","quoteAsset":"BTC"}',
]


def test_trading_symbols_of_the_quote_assets() -> None:
    assert select_symbols(INFO, (), ("USDT",)) == ["BTCUSDT"]
    assert select_symbols(INFO, (), ("*",)) == ["BTCUSDT", "ETHBTC"]


def test_of_a_list_those_that_trade() -> None:
    assert select_symbols(INFO, ("ETHBTC", "BTCUSDT", "OLDUSDT"), ("USDT",)) == [
        "BTCUSDT",
        "ETHBTC",
    ]


def test_a_list_of_symbols_that_do_not_trade_now_waits() -> None:
    assert select_symbols(INFO, ("OLDUSDT",), ("USDT",)) == []


def test_a_list_without_any_known_symbol_is_an_error() -> None:
    with pytest.raises(SelectionError, match=r"BINANCE_SYMBOLS: .* NOPEUSDT"):
        select_symbols(INFO, ("NOPEUSDT",), ())


def test_unknown_symbols_are_named() -> None:
    assert select_symbols(INFO, ("BTCUSDT", "NOPEUSDT"), ()) == ["BTCUSDT"]
    assert unknown_symbols(INFO, ("BTCUSDT", "NOPEUSDT", "OLDUSDT")) == ["NOPEUSDT"]


def test_no_symbol_at_all_is_an_error() -> None:
    with pytest.raises(SelectionError, match="EUR"):
        select_symbols(INFO, (), ("EUR",))


def test_an_entry_that_cannot_be_read_is_left_out() -> None:
    entries = [b"7", b'{"symbol":7,"status":"TRADING"}', b'{"symbol":"\xff"}', *INFO]
    assert select_symbols(entries, (), ("*",)) == ["BTCUSDT", "ETHBTC"]


def test_recorded_exchange_info(recorded: Path) -> None:
    text = (recorded / "rest" / "exchangeInfo-2021-10-12.txt").read_text("utf-8")
    answer = text[text.index("{") :]
    _, end = json.JSONDecoder().raw_decode(answer)
    assert len(select_symbols(split_entries(answer[:end].encode()), (), ("*",))) == 1262
