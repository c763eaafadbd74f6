import pytest

from sandbox.exchange.catalogue import (
    MAX_INSTRUMENTS,
    delisted_instruments,
    recorded_instrument,
    trading_instruments,
)


def test_symbols_are_distinct_and_varied() -> None:
    instruments = trading_instruments(200)
    symbols = [instrument.symbol for instrument in instruments]
    assert len(set(symbols)) == 200
    assert symbols[:2] == ["BTCUSDT", "ETHUSDT"]
    named = symbols[:50]
    assert any(symbol[0].isdigit() for symbol in named)
    assert any(not symbol.isascii() for symbol in named)
    assert len({instrument.quote for instrument in instruments[:50]}) >= 5
    assert any(instrument.quiet_per_hour for instrument in instruments[:10])


def test_prices_are_multiples_of_the_tick() -> None:
    for instrument in trading_instruments(MAX_INSTRUMENTS):
        assert instrument.price % instrument.tick == 0, instrument.symbol
        assert instrument.typical_steps >= 1


def test_delisted_symbols_do_not_trade() -> None:
    assert {instrument.status for instrument in delisted_instruments()} == {"BREAK"}


@pytest.mark.parametrize("count", [0, MAX_INSTRUMENTS + 1])
def test_an_impossible_count_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="symbols: expected 1 to"):
        trading_instruments(count)


def test_a_recorded_symbol_is_split_into_its_assets() -> None:
    assert (recorded_instrument("BTCUSDT").base, recorded_instrument("BTCUSDT").quote) == (
        "BTC",
        "USDT",
    )
    assert recorded_instrument("ODD").symbol == "ODD"
