import pytest

from sandbox.exchange.catalogue import delisted_instruments, trading_instruments
from sandbox.exchange.listings import Listings


def listings() -> Listings:
    return Listings([*trading_instruments(2), *delisted_instruments()])


def test_a_status_changes_and_nothing_else() -> None:
    it = listings()
    before = dict(it.instruments)
    it.set_status("BTCUSDT", "HALT")
    after = it.instruments
    assert list(after) == list(before)
    assert [symbol for symbol in after if after[symbol] != before[symbol]] == ["BTCUSDT"]
    assert (after["BTCUSDT"].status, after["BTCUSDT"].tick) == ("HALT", before["BTCUSDT"].tick)


def test_a_symbol_is_listed_last_and_taken_off() -> None:
    it = listings()
    it.set_status("币安USDT", "TRADING")
    assert list(it.instruments)[-1] == "币安USDT"
    assert (it.instruments["币安USDT"].base, it.instruments["币安USDT"].quote) == ("币安", "USDT")
    it.delist("BTCUSDT")
    it.delist("币安USDT")
    assert list(it.instruments) == ["ETHUSDT", "BCCBTC", "LUNABUSD"]


def test_mistakes_are_named() -> None:
    it = listings()
    with pytest.raises(ValueError, match=r"status: expected one of TRADING, .*, was 'DELISTED'"):
        it.set_status("BTCUSDT", "DELISTED")
    with pytest.raises(ValueError, match="symbol: expected a name like BTCUSDT, was 'btc/usdt'"):
        it.set_status("btc/usdt", "TRADING")
    with pytest.raises(ValueError, match="'NOPEUSDT' is not listed"):
        it.delist("NOPEUSDT")
