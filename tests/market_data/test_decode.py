import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from market_data.decode import Ignored, Origin, decode_line, from_microseconds, to_microseconds
from market_data.records import AggTrade, BookTicker, Kline, Symbol, Trade
from market_data.rejections import Reason, Rejected

GOLDEN = Path(__file__).parent / "golden"
ORIGIN = Origin("spot", "stream", "c1", "c1/1/1", datetime(2026, 1, 1, tzinfo=UTC))
RECEIVED = 1_723_161_255_208_000


def line(payload: str | dict, stream: str | None = "btcusdt@trade") -> bytes:
    data = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    name = "" if stream is None else f'"stream":"{stream}",'
    return f'{{"received_at":{RECEIVED},{name}"data":{data}}}'.encode()


TRADE = {
    "e": "trade", "E": 1723161255208, "s": "BTCUSDT", "t": 42, "p": "61685.99000000",
    "q": "0.00068000", "T": 1723161255207, "m": True, "M": True,
}  # fmt: skip


def decode(data: bytes, channel: str = "trade"):
    return decode_line(data, channel, ORIGIN)


def rejected(data: bytes, channel: str = "trade") -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(data, channel)
    return caught.value


def test_a_trade_is_exact() -> None:
    assert decode(line(TRADE)) == Trade(
        market="spot",
        symbol="BTCUSDT",
        trade_id=42,
        price=Decimal("61685.99"),
        quantity=Decimal("0.00068"),
        quote_quantity=Decimal("41.9464732"),
        is_buyer_maker=True,
        traded_at=datetime(2024, 8, 8, 23, 54, 15, 207_000, tzinfo=UTC),
        event_at=datetime(2024, 8, 8, 23, 54, 15, 208_000, tzinfo=UTC),
        received_at=datetime(2024, 8, 8, 23, 54, 15, 208_000, tzinfo=UTC),
        source="stream",
        collector="c1",
        frame_id="c1/1/1",
        loaded_at=ORIGIN.loaded_at,
    )


def test_microseconds_are_told_from_milliseconds_by_magnitude() -> None:
    trade = decode(line(TRADE | {"T": 1723161255207123, "E": 1723161255208123}))
    assert trade.traded_at.microsecond == 207_123


def test_old_trades_with_order_ids_are_taken() -> None:
    assert decode(line(TRADE | {"b": 1, "a": 2})).trade_id == 42


def test_a_bare_payload_needs_no_stream() -> None:
    assert decode(line(TRADE, stream=None)).symbol == "BTCUSDT"


def test_an_unspliceable_message_is_read_from_base64() -> None:
    pretty = json.dumps({"stream": "btcusdt@trade", "data": TRADE}, indent=1).encode()
    wrapped = base64.b64encode(pretty).decode()
    data = f'{{"received_at":{RECEIVED},"base64":"{wrapped}"}}'.encode()
    assert decode(data).trade_id == 42


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.pass.json")), ids=lambda path: path.name)
def test_golden_messages_pass(path: Path) -> None:
    golden = json.loads(path.read_text("utf-8"))
    decoded = decode(golden["line"].encode(), golden["channel"])
    if isinstance(decoded, Ignored):
        assert decoded.decision == golden["ignored"]
    else:
        found = {name: str(getattr(decoded, name)) for name in golden["record"]}
        assert found == golden["record"]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.fail.json")), ids=lambda path: path.name)
def test_golden_messages_fail(path: Path) -> None:
    golden = json.loads(path.read_text("utf-8"))
    cause = rejected(golden["line"].encode(), golden["channel"])
    assert (cause.reason, cause.field) == (golden["reason"], golden["field"])


def test_there_are_goldens_of_every_kind() -> None:
    names = {path.name.split(".")[0] for path in GOLDEN.glob("*.json")}
    assert names >= {"trade", "aggTrade", "kline", "bookTicker", "control", "depth", "exchangeInfo"}


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"p": "-1.0"}, Reason.NOT_A_DECIMAL, "p"),
        ({"p": "0.00000000"}, Reason.OUT_OF_RANGE, "p"),
        ({"q": "0"}, Reason.OUT_OF_RANGE, "q"),
        ({"p": "1" * 40}, Reason.NOT_A_DECIMAL, "p"),
        ({"p": 61685.99}, Reason.WRONG_TYPE, "p"),
        ({"t": "42"}, Reason.WRONG_TYPE, "t"),
        ({"t": -1}, Reason.OUT_OF_RANGE, "t"),
        ({"t": 2**63}, Reason.OUT_OF_RANGE, "t"),
        ({"t": True}, Reason.WRONG_TYPE, "t"),
        ({"m": "true"}, Reason.WRONG_TYPE, "m"),
        ({"T": 1}, Reason.OUT_OF_RANGE, "T"),
        ({"s": "ETHUSDT"}, Reason.SYMBOL_MISMATCH, "s"),
        ({"s": "BTC\x00USDT"}, Reason.OUT_OF_RANGE, "s"),
        ({"s": ""}, Reason.OUT_OF_RANGE, "s"),
        ({"s": None}, Reason.MISSING_KEY, "s"),
        ({"e": "aggTrade"}, Reason.WRONG_EVENT, "e"),
        ({"p": "9" * 20, "q": "9" * 20}, Reason.OUT_OF_RANGE, "p x q"),
    ],
)
def test_a_wrong_value_is_named(change: dict, reason: Reason, field: str) -> None:
    cause = rejected(line(TRADE | change))
    assert (cause.reason, cause.field) == (reason, field)


@pytest.mark.parametrize("key", [key for key in TRADE if key != "M"])
def test_a_missing_key_is_named(key: str) -> None:
    cause = rejected(line({name: value for name, value in TRADE.items() if name != key}))
    assert (cause.reason, cause.field) == (Reason.MISSING_KEY, key)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (line(TRADE)[:-20], Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b'{"received_at":NaN}', Reason.NOT_JSON),
        (line(TRADE).replace(b"BTC", b"\xff\xfe"), Reason.NOT_UTF8),
        (b"[]", Reason.NOT_AN_ENVELOPE),
        (line(TRADE).replace(b'"data"', b'"date"'), Reason.NOT_AN_ENVELOPE),
        (line(TRADE).replace(b'"received_at":', b'"received":'), Reason.MISSING_KEY),
        (line(TRADE).replace(b'"q"', b'"p"'), Reason.DUPLICATE_KEY),
        (line("[1,2]"), Reason.WRONG_TYPE),
        (line(TRADE).replace(b'"btcusdt@trade"', b"7"), Reason.WRONG_TYPE),
        (b'{"received_at":1723161255208000,"base64":"%%%"}', Reason.NOT_AN_ENVELOPE),
        (b'{"received_at":1723161255208000,"base64":"//4="}', Reason.NOT_UTF8),
        (line('{"what":1}', stream=None), Reason.UNKNOWN_MESSAGE),
        (line(TRADE, stream="btcusdt@aggTrade"), Reason.WRONG_EVENT),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_line_of_the_channel_is_rejected(data: bytes, reason: Reason) -> None:
    assert rejected(data).reason is reason


def test_other_records() -> None:
    agg = {
        "e": "aggTrade", "E": 1769224657584, "s": "BTCUSDT", "a": 7, "p": "1.0", "q": "2.0",
        "f": 1, "l": 3, "T": 1769224657583, "m": False, "M": True,
    }  # fmt: skip
    assert isinstance(decode(line(agg, "btcusdt@aggTrade"), "aggTrade"), AggTrade)
    ticker = {"u": 1, "s": "BTCUSDT", "b": "0.0", "B": "0", "a": "1", "A": "2"}
    assert isinstance(decode(line(ticker, "btcusdt@bookTicker"), "bookTicker"), BookTicker)
    kline = {
        "e": "kline", "E": 1681154040005, "s": "ELFBUSD",
        "k": {
            "t": 1681153980000, "T": 1681154039999, "s": "ELFBUSD", "i": "1m", "f": -1, "L": -1,
            "o": "0.3117", "c": "0.3117", "h": "0.3117", "l": "0.3117", "v": "0.0", "n": 0,
            "x": True, "q": "0.0", "V": "0.0", "Q": "0.0", "B": "0",
        },
    }  # fmt: skip
    decoded = decode(line(kline, "elfbusd@kline_1m"), "kline")
    assert isinstance(decoded, Kline)
    assert (decoded.trades, decoded.first_trade_id, decoded.is_closed) == (0, -1, True)


def test_an_invalidated_aggregate_is_ignored_by_name() -> None:
    agg = {
        "e": "aggTrade", "E": 1769224657584, "s": "BTCUSDT", "a": 7, "p": "0", "q": "0",
        "f": -1, "l": -1, "T": 1769224657583, "m": False, "M": True,
    }  # fmt: skip
    assert decode(line(agg, "btcusdt@aggTrade"), "aggTrade") == Ignored("invalidated_agg_trade")


def test_times_survive_the_round_trip() -> None:
    time = datetime(2026, 11, 22, 1, 2, 3, 456_789, tzinfo=UTC)
    assert from_microseconds(to_microseconds(time)) == time


def test_a_symbol_s_entry_is_exact() -> None:
    golden = json.loads((GOLDEN / "exchangeInfo.non_ascii.pass.json").read_text("utf-8"))
    assert decode(golden["line"].encode(), "exchangeInfo") == Symbol(
        market="spot",
        symbol="币安人生USDT",
        status="TRADING",
        base_asset="币安人生",
        quote_asset="USDT",
        tick_size=Decimal("0.00000001"),
        step_size=Decimal("0.1"),
        min_notional=Decimal(5),
        is_spot_allowed=True,
        permissions="SPOT,MARGIN",
        listed_symbols=3021,
        received_at=from_microseconds(1_770_000_000_000_000),
        source="stream",
        collector="c1",
        frame_id="c1/1/1",
        loaded_at=ORIGIN.loaded_at,
    )
