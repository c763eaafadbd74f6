import pytest

from sandbox.exchange.rest_rules import Query, RestError, time_unit

ALLOWED = frozenset({"symbol", "limit", "fromId", "startTime"})
KNOWN = {"BTCUSDT": 1, "币安人生USDT": 2}


def query(**values: str) -> Query:
    return Query(values.items(), ALLOWED)


def ask(values: list[tuple[str, str]]) -> None:
    asked = Query(values, ALLOWED)
    asked.symbol(KNOWN)
    asked.integer("fromId")
    asked.limit()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([], -1102),
        ([("symbol", "")], -1102),
        ([("symbol", "btcusdt")], -1100),
        ([("symbol", "BTC/USDT")], -1100),
        ([("symbol", "NOPE")], -1121),
        ([("symbol", "BTCUSDT"), ("symbol", "BTCUSDT")], -1101),
        ([("symbol", "BTCUSDT"), ("colour", "1")], -1104),
        ([("symbol", "BTCUSDT"), ("limit", "")], -1105),
        ([("symbol", "BTCUSDT"), ("limit", "x")], -1100),
        ([("symbol", "BTCUSDT"), ("limit", "-1")], -1100),
        ([("symbol", "BTCUSDT"), ("limit", "0")], -1130),
        ([("symbol", "BTCUSDT"), ("fromId", "9" * 20)], -1108),
    ],
)
def test_refusals_have_the_documented_codes(values: list[tuple[str, str]], code: int) -> None:
    with pytest.raises(RestError) as raised:
        ask(values)
    assert raised.value.body["code"] == code


def test_what_is_accepted() -> None:
    assert query(symbol="币安人生USDT").symbol(KNOWN) == "币安人生USDT"
    assert query().limit() == 500
    assert query(limit="5000").limit() == 1000


def test_times_come_in_either_unit() -> None:
    assert query(startTime="1790000040123").time_us("startTime") == 1_790_000_040_123_000
    assert query(startTime="1790000040123456").time_us("startTime") == 1_790_000_040_123_456
    assert query(startTime="1790000040123").last_time_us("startTime") == 1_790_000_040_123_999
    assert query().time_us("startTime") is None


def test_time_units() -> None:
    assert (time_unit(None), time_unit("millisecond"), time_unit("MICROSECOND")) == (1000, 1000, 1)
    with pytest.raises(RestError, match="Invalid value for time unit"):
        time_unit("second")
