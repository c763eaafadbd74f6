import pytest

from collector.settings import VARIABLES, Settings, SettingsError, describe, read_settings


def test_nothing_set_gives_the_defaults() -> None:
    assert read_settings({}) == Settings()


def test_values_are_read() -> None:
    settings = read_settings(
        {
            "BINANCE_SYMBOLS": "BTCUSDT, 1INCHUSDT,币安人生USDT,BTCUSDT",
            "BINANCE_CHANNELS": "trade,kline_1m,depth@100ms",
            "BINANCE_WS_URL": "ws://127.0.0.1:9443/",
            "COLLECTOR_FRAME_AGE_MS": "20",
        }
    )
    assert settings.symbols == ("BTCUSDT", "1INCHUSDT", "币安人生USDT")
    assert settings.channels == ("trade", "kline_1m", "depth@100ms")
    assert settings.ws_url == "ws://127.0.0.1:9443"
    assert settings.frame_age_ms == 20


def test_all_mistakes_are_in_one_message_with_thing_value_and_remedy() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(
            {
                "BINANCE_SYMBOLS": "btc/usdt",
                "BINANCE_WS_URL": "https://user:secret@example.com/stream",
                "BINANCE_CHANNELS": "trades",
                "COLLECTOR_FRAME_LINES": "0",
                "COLLECTOR_TRANSPORT": "aiohttp",
                "COLLECTOR_ID": "Bad Id",
                "PUBSUB_PROJECT": "x",
            }
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 7
    assert (
        "BINANCE_SYMBOLS: expected names like BTCUSDT separated by commas, was 'btc/usdt';"
        " write BTCUSDT,ETHUSDT"
    ) in lines
    assert all("; write" in line for line in lines)


def test_a_secret_in_an_address_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"BINANCE_WS_URL": "wss://user:secret@example.com"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["-1", "1.5", "٣", "10000000", "", " "])
def test_numbers_are_whole_and_bounded(text: str) -> None:
    environment = {"COLLECTOR_FRAME_AGE_MS": text}
    if text.strip():
        with pytest.raises(SettingsError, match="whole number from 1 to 60000"):
            read_settings(environment)
    else:
        assert read_settings(environment) == Settings()


def test_the_description_has_every_variable() -> None:
    assert describe(Settings()).keys() == {variable.name for variable in VARIABLES.values()}


def test_exchange_info_is_no_stream() -> None:
    with pytest.raises(SettingsError, match=r"BINANCE_CHANNELS: .*exchangeInfo"):
        read_settings({"BINANCE_CHANNELS": "trade,exchangeInfo"})


@pytest.mark.parametrize("text", ["0", "1h", "86401"])
def test_the_time_between_two_exchange_infos_is_bounded(text: str) -> None:
    with pytest.raises(SettingsError, match=r"SECONDS: .* from 1 to 86400, was .*; write 300$"):
        read_settings({"COLLECTOR_EXCHANGE_INFO_SECONDS": text})


@pytest.mark.parametrize("text", ["0", "86001"])
def test_a_connection_is_replaced_before_the_exchange_ends_it(text: str) -> None:
    with pytest.raises(SettingsError, match=r"ROTATE_SECONDS: .* from 1 to 86000, was"):
        read_settings({"COLLECTOR_ROTATE_SECONDS": text})
