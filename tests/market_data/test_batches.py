"""The fast way and the careful way must agree on anything; the careful way is the definition."""

import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from market_data import batches
from market_data.batches import decode_batch
from market_data.decode import Ignored, Origin, decode_line
from market_data.layouts import LAYOUTS
from market_data.rejections import Reason, Rejected

ORIGIN = Origin("spot", "stream", "c1", "c1/1/1", datetime(2026, 1, 1, tzinfo=UTC))

symbols = st.sampled_from(["BTCUSDT", "ETHBTC", "1000SATSUSDT", "币安人生USDT"])
ids = st.integers(0, 2**63 - 1)
times = st.integers(1_700_000_000_000, 1_800_000_000_000) | st.integers(
    1_700_000_000_000_000, 1_800_000_000_000_000
)
amounts = st.integers(1, 10**17).map(lambda units: f"{Decimal(units).scaleb(-8):f}")
flags = st.booleans()

payloads = {
    "trade": st.fixed_dictionaries(
        {"e": st.just("trade"), "E": times, "s": symbols, "t": ids, "p": amounts, "q": amounts}
        | {"T": times, "m": flags, "M": flags}
    ),
    "aggTrade": st.fixed_dictionaries(
        {"e": st.just("aggTrade"), "E": times, "s": symbols, "a": ids, "p": amounts, "q": amounts}
        | {"f": ids, "l": ids, "T": times, "m": flags, "M": flags}
    ),
    "bookTicker": st.fixed_dictionaries(
        {"u": ids, "s": symbols, "b": amounts, "B": amounts, "a": amounts, "A": amounts}
    ),
    "kline": st.fixed_dictionaries(
        {
            "e": st.just("kline"),
            "E": times,
            "s": symbols,
            "k": st.fixed_dictionaries(
                {"t": times, "T": times, "s": symbols, "i": st.sampled_from(["1m", "1h"])}
                | dict.fromkeys("fL", st.integers(-1, 10**12))
                | dict.fromkeys("ochlvqVQ", amounts)
                | {"n": ids, "x": flags, "B": st.just("0")}
            ),
        }
    ),
}
SUFFIX = {"kline": "kline_1m"}
odd_values = st.sampled_from(
    [None, True, 0, -1, 2**63, 2**64, 1.5, "", "0", "-1", "1e5", "+1", "9" * 40, "1.", ".5", [], {}]
) | st.sampled_from(["0.1234567891", "0.123456789", "x\0y", "\ud800", "12345678901.5", "a:b"])


def to_line(channel: str, payload: dict, received_at: object = 1_770_000_000_000_000) -> bytes:
    """Write a message as Binance does: keys in its order, nothing between them."""
    order = [key for key in LAYOUTS[channel].order if key in payload]
    payload = {key: payload[key] for key in order} | payload
    symbol = payload.get("s")
    stream = f"{str(symbol).lower()}@{SUFFIX.get(channel, channel)}"
    envelope = {"received_at": received_at, "stream": stream, "data": payload}
    text = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def odd_lines(draw: st.DrawFn, channel: str) -> bytes:
    """A line that was a good one before something happened to it."""
    payload = draw(payloads[channel])
    inner = payload["k"] if channel == "kline" and draw(flags) else payload
    key = draw(st.sampled_from(sorted(inner)))
    match draw(st.integers(0, 8)):
        case 0:
            inner[key] = draw(odd_values)
        case 1:
            del inner[key]
        case 2:
            inner["new"] = draw(odd_values)
        case 3:
            line = to_line(channel, payload)
            return line[: draw(st.integers(0, len(line)))]
        case 4:
            return to_line(channel, payload).replace(b'"s":', b'"%s":' % key.encode(), 1)
        case 5:
            return to_line(channel, payload).replace(b",", b" , ", draw(st.integers(0, 3)))
        case 6:
            line = bytearray(to_line(channel, payload))
            line[draw(st.integers(0, len(line) - 1))] = draw(st.sampled_from(b'\0\xff":{}x1'))
            return bytes(line)
        case 7:
            return to_line(channel, payload, draw(odd_values))
        case _:
            good = json.loads(to_line(channel, payload))
            members = draw(st.permutations(sorted(good["data"].items())))
            return json.dumps(good | {"data": dict(members)}, separators=(",", ":")).encode()
    return to_line(channel, payload)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    channel = draw(st.sampled_from(sorted(payloads)))
    good = payloads[channel].map(lambda payload: to_line(channel, payload))
    lines = draw(st.lists(good, max_size=5))
    if draw(flags):
        lines.insert(draw(st.integers(0, len(lines))), draw(odd_lines(channel)))
    return channel, [line.replace(b"\n", b"") for line in lines]


def definition(channel: str, lines: list[bytes]) -> tuple[list[dict], Counter, list]:
    """What the careful way says: rows, ignored, rejected."""
    names = LAYOUTS[channel].table.arrow_schema.names
    rows, ignored, rejected = [], Counter(), []
    for number, line in enumerate(lines, start=1):
        try:
            decoded = decode_line(line, channel, ORIGIN)
        except Rejected as cause:
            rejected.append((number, line, cause.reason, cause.field, cause.value))
        else:
            if isinstance(decoded, Ignored):
                ignored[decoded.decision] += 1
            else:
                rows.append({name: getattr(decoded, name) for name in names})
    return rows, ignored, rejected


DUPLICATE_AND_MISSING = [
    b'{"received_at":1770000000000000,"stream":"btcusdt@trade","data":{"e":"trade","E":'
    b'1770000000000,"s":"BTCUSDT","t":1,"p":"1","p":"2","q":"1","T":1770000000000,"m":true}}',
]


@given(bodies())
@example(("trade", DUPLICATE_AND_MISSING))
def test_fast_and_careful_agree(body: tuple[str, list[bytes]]) -> None:
    channel, lines = body
    batch = decode_batch(b"".join(line + b"\n" for line in lines), channel, ORIGIN)
    rows, ignored, rejected = definition(channel, lines)
    assert batch.rows is not None
    assert batch.rows.to_pylist() == rows
    assert batch.ignored == ignored
    assert [
        (r.number, r.line, r.cause.reason, r.cause.field, r.cause.value) for r in batch.rejected
    ] == rejected


@pytest.mark.parametrize("channel", ["aggTrade", "bookTicker", "trade"])
def test_good_messages_take_the_fast_way(channel: str, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the careful way was taken")

    monkeypatch.setattr(batches, "_careful", refuse)

    @given(st.lists(payloads[channel], min_size=1, max_size=4))
    def check(good: list[dict]) -> None:
        for payload in good:
            for name in set(payload) & set("TE"):
                payload[name] = 1_770_000_000_000
            for name in set(payload) & set("pq"):
                payload[name] = "1.00000000"
            for name, value in payload.items():
                if type(value) is int:
                    payload[name] = value % 10**18
        body = b"".join(to_line(channel, payload) + b"\n" for payload in good)
        batch = decode_batch(body, channel, ORIGIN)
        assert batch.rows is not None
        assert batch.rows.num_rows == len(good)

    check()


def test_a_bad_line_never_costs_its_neighbours() -> None:
    good = {
        "e": "trade", "E": 1770000000000, "s": "BTCUSDT", "t": 1, "p": "1", "q": "1",
        "T": 1770000000000, "m": True, "M": True,
    }  # fmt: skip
    lines = [to_line("trade", good | {"t": number}) for number in range(5)]
    lines[2] = b"\xff garbage \0"
    batch = decode_batch(b"".join(line + b"\n" for line in lines), "trade", ORIGIN)
    assert batch.rows is not None
    assert batch.rows.column("trade_id").to_pylist() == [0, 1, 3, 4]
    assert [(r.number, r.line) for r in batch.rejected] == [(3, b"\xff garbage \0")]
    assert batch.rejected[0].cause.reason is Reason.NOT_UTF8


@pytest.mark.parametrize("channel", ["depth", "control", "other"])
def test_archived_channels_give_no_rows(channel: str) -> None:
    stream = {"depth": '"stream":"x@depth",', "other": '"stream":"x@y",'}.get(channel, "")
    line = f'{{"received_at":1770000000000000,{stream}"data":{{"result":null,"id":1}}}}\n'
    batch = decode_batch(line.encode() * 3, channel, ORIGIN)
    assert batch.rows is None
    assert sum(batch.ignored.values()) == 3


def test_an_empty_body_gives_no_rows() -> None:
    batch = decode_batch(b"", "trade", ORIGIN)
    assert batch.rows is not None
    assert batch.rows.num_rows == 0
