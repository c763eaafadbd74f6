import pytest

from market_data.channels import CHANNELS, channel_of, symbol_of


@pytest.mark.parametrize(
    ("stream", "channel"),
    [
        ("btcusdt@trade", "trade"),
        ("btcusdt@aggTrade", "aggTrade"),
        ("btcusdt@blockTrade", "blockTrade"),
        ("btcusdt@kline_1m", "kline"),
        ("btcusdt@kline_1m@+08:00", "other"),
        ("btcusdt@bookTicker", "bookTicker"),
        ("btcusdt@depth", "depth"),
        ("btcusdt@depth@100ms", "depth"),
        ("btcusdt@depth20@100ms", "depth"),
        ("btcusdt@miniTicker", "miniTicker"),
        ("!miniTicker@arr", "miniTicker"),
        ("btcusdt@ticker", "ticker"),
        ("!ticker_1h@arr", "ticker"),
        ("btcusdt@ticker_4h", "ticker"),
        ("btcusdt@avgPrice", "avgPrice"),
        ("btcusdt@referencePrice", "referencePrice"),
        ("!serverShutdown", "serverShutdown"),
        ("btcusdt@somethingNew", "other"),
        ("btcusdt@control", "other"),
        ("btcusdt@exchangeInfo", "other"),
        ("btcusdt@hole", "other"),
        ("!exchangeInfo", "other"),
        ("btcusdt@kline", "other"),
        ("nonsense", "other"),
        ("", "other"),
        ("币安人生usdt@trade", "trade"),
    ],
)
def test_every_documented_stream_has_a_channel(stream: str, channel: str) -> None:
    assert channel_of(stream) == channel
    assert channel in CHANNELS


def test_symbols_are_upper_case_and_whole_market_streams_have_none() -> None:
    assert symbol_of("1inchusdt@trade") == "1INCHUSDT"
    assert symbol_of("币安人生usdt@trade") == "币安人生USDT"
    assert symbol_of("!miniTicker@arr") is None
    assert symbol_of("nonsense") is None
