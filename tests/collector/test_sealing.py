import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import sealing
from collector.sealing import Sealer
from market_data.batches import decode_batch
from market_data.channels import CHANNELS
from market_data.decode import Origin, parse_line
from market_data.frames import Frame, decode_frame, split_lines
from market_data.rejections import Rejected

TIME_NS = 1_770_000_000_000_000_000


def trade(number: int, symbol: str = "BTCUSDT") -> bytes:
    payload = {
        "e": "trade", "E": 1770000000001, "s": symbol, "t": number, "p": "2.50000000",
        "q": "0.20000000", "T": 1770000000000, "m": True, "M": True,
    }  # fmt: skip
    return envelope(f"{symbol.lower()}@trade", payload)


def envelope(stream: str, payload: object) -> bytes:
    return json.dumps(
        {"stream": stream, "data": payload}, separators=(",", ":"), ensure_ascii=False
    ).encode()


def sealer(*, with_quantities: bool = False) -> Sealer:
    return Sealer(market="spot", collector="c1", epoch=7, with_quantities=with_quantities)


def seal(messages: list[bytes], **options: bool) -> tuple[list[Frame], sealing.Sealed]:
    times = [TIME_NS + 1000 * number for number in range(len(messages))]
    sealed = sealer(**options).seal(messages, times)
    return [decode_frame(frame.data) for frame in sealed.frames], sealed


def original(line: bytes) -> bytes:
    """Undo the splicing, as a replay does."""
    import base64
    import re

    if match := re.fullmatch(rb'\{"received_at":\d+,"base64":"(.*)"\}', line):
        return base64.b64decode(match[1])
    if match := re.fullmatch(rb'\{"received_at":\d+,"data":(.*)\}', line):
        return match[1]
    match = re.fullmatch(rb'\{"received_at":\d+,("stream":.*)', line, re.DOTALL)
    assert match is not None
    return b"{" + match[1]


def test_messages_become_lines_byte_for_byte() -> None:
    messages = [trade(number, symbol) for number in range(3) for symbol in ("BTCUSDT", "ETHUSDT")]
    (frame,), sealed = seal(messages)
    assert [original(line) for line in split_lines(frame.body)] == messages
    assert split_lines(frame.body)[1].startswith(b'{"received_at":1770000000000001,"stream"')
    header = frame.header
    assert (header.frame_id, header.sequence, header.lines) == ("c1/7/1", 1, 6)
    assert (header.opened_at, header.closed_at) == (1770000000000000, 1770000000000005)
    assert header.symbols["ETHUSDT"].count == 3
    assert sealed.messages == {"trade": 6}


def test_runs_have_first_last_count_and_sum() -> None:
    (frame,), _ = seal([trade(number) for number in (5, 6, 9, 7, 7)])
    totals = frame.header.symbols["BTCUSDT"]
    assert (totals.first_id, totals.last_id, totals.count, totals.sum_ids) == (5, 9, 5, 34)
    assert totals.sum_quantity is None


def test_full_totals_have_exact_sums() -> None:
    (frame,), _ = seal([trade(number) for number in range(4)], with_quantities=True)
    totals = frame.header.symbols["BTCUSDT"]
    assert (totals.count, totals.sum_ids) == (4, 6)
    assert (str(totals.sum_quantity), str(totals.sum_quote_quantity)) == (
        "0.800000000",
        "2.000000000",
    )


def test_sequences_are_consecutive_over_channels_and_buffers() -> None:
    subject = sealer()
    frames = []
    for number in range(3):
        messages = [trade(number), b'{"result":null,"id":1}', envelope("x@depth", {})]
        frames += subject.seal(messages, [TIME_NS] * 3).frames
    assert [frame.header.sequence for frame in frames] == list(range(1, 10))
    assert {frame.header.channel for frame in frames} == {"trade", "control", "depth"}


@pytest.mark.parametrize(
    ("message", "channel"),
    [
        (b'{"result":null,"id":1}', "control"),
        (b'{"code":2,"msg":"Invalid request"}', "control"),
        (b'{"e":"serverShutdown","E":1770000000000}', "serverShutdown"),
        (envelope("!serverShutdown", {"e": "serverShutdown", "E": 1}), "serverShutdown"),
        (envelope("btcusdt@unheard", {}), "other"),
        (envelope("btcusdt@depth@100ms", {}), "depth"),
        (b'{"e":"trade","s":"BTCUSDT"}', "trade"),
        (b"not json", "control"),
        (b"", "control"),
        (b"{}", "control"),
        (b"[1]", "control"),
        (b"\xff\x00\n", "control"),
        (b'{"stream":"btcusdt@trade","data":{"t":1', "trade"),
        (trade(1).replace(b",", b",\n"), "trade"),
        (b'{ "stream": "btcusdt@trade", "data": {} }', "trade"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_anything_keeps_its_bytes_beside_good_trades(message: bytes, channel: str) -> None:
    messages = [trade(1), message, trade(2)]
    frames, sealed = seal(messages)
    found = [original(line) for frame in frames for line in split_lines(frame.body)]
    assert sorted(found) == sorted(messages)
    where = {frame.header.channel for frame in frames for line in split_lines(frame.body)
             if original(line) == message}  # fmt: skip
    assert where == {channel}
    trades = next(frame for frame in frames if frame.header.channel == "trade")
    good = 3 if b",\n" in message else 2  # pretty-printed, but a trade
    assert trades.header.symbols["BTCUSDT"].count == good
    assert sum(sealed.messages.values()) == 3


def test_control_messages_are_handed_over() -> None:
    _, sealed = seal([trade(1), b'{"code":3,"msg":"Invalid JSON"}', b"\x00"])
    assert sealed.controls == [{"code": 3, "msg": "Invalid JSON"}]


def test_a_notice_is_handed_over_also_when_nothing_else_came() -> None:
    notice = {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}
    (frame,), sealed = seal([envelope(notice["stream"], notice["data"])])
    assert sealed.controls == [notice]
    assert frame.header.channel == "serverShutdown"


def test_two_messages_in_one_are_not_taken_for_two() -> None:
    double = trade(1) + b"\n" + trade(2)
    frames, _ = seal([double])
    assert [original(line) for frame in frames for line in split_lines(frame.body)] == [double]


def test_what_is_too_large_for_a_message_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "TARGET_MESSAGE_BYTES", 600)
    messages = [trade(number * 7919) for number in range(200)]
    frames, _ = seal(messages)
    assert len(frames) > 1
    assert [original(line) for frame in frames for line in split_lines(frame.body)] == messages
    assert [frame.header.sequence for frame in frames] == list(range(1, len(frames) + 1))
    assert sum(frame.header.symbols["BTCUSDT"].count for frame in frames) == 200


def test_header_and_content_agree_as_the_job_checks_it() -> None:
    from beam_jobs.frames import ReceivedFrame, decode_received

    messages = [trade(number, symbol) for number in range(9) for symbol in ("A1", "币安USDT")]
    klines = [
        envelope("a1@kline_1m", {
            "e": "kline", "E": 1770000060005, "s": "A1",
            "k": dict.fromkeys("ochlvqVQ", "1.0") | {
                "t": 1770000000000, "T": 1770000059999, "s": "A1", "i": "1m", "f": 1, "L": 2,
                "n": 2, "x": True, "B": "0",
            },
        })
    ]  # fmt: skip
    now = datetime.now(UTC)
    for batch in (messages, klines, messages + klines):
        for with_quantities in (False, True):
            for frame in seal(batch, with_quantities=with_quantities)[0]:
                assert decode_received(ReceivedFrame(frame, b"", now), now).rejections == []


messages = st.lists(
    st.integers(0, 9).map(trade)
    | st.binary(max_size=30)
    | st.sampled_from([b'{"result":null,"id":1}', envelope("a@aggTrade", {"a": 1})])
    | st.tuples(st.integers(0, 9).map(trade), st.integers(0, 160)).map(lambda t: t[0][: t[1]]),
    max_size=6,
)


@given(messages)
def test_no_message_is_lost_changed_or_fatal(batch: list[bytes]) -> None:
    frames, sealed = seal(batch)
    found = [original(line) for frame in frames for line in split_lines(frame.body)]
    assert sorted(found) == sorted(batch)
    assert sum(sealed.messages.values()) == len(batch)
    assert all(frame.header.channel in CHANNELS for frame in frames)
    assert all(frame.header.lines == len(split_lines(frame.body)) for frame in frames)
    for frame in frames:
        origin = Origin("spot", "stream", "c1", frame.header.frame_id, datetime.now(UTC))
        decoded = decode_batch(frame.body, frame.header.channel, origin)
        rows = 0 if decoded.rows is None else decoded.rows.num_rows
        assert rows + sum(decoded.ignored.values()) + len(decoded.rejected) == frame.header.lines
        for line in split_lines(frame.body):
            try:
                parse_line(line)
            except Rejected:
                continue


def test_nothing_gives_nothing() -> None:
    assert seal([]) == ([], sealing.Sealed())


def test_lines_from_rest_are_sealed_in_frames_of_bounded_size() -> None:
    lines = [
        b'{"received_at":1770000000000000,"listed":9,"data":{"symbol":"S%d","filters":[]}}' % number
        for number in range(9)
    ]
    sealed = sealer(with_quantities=True).seal_lines(
        "exchangeInfo", lines, TIME_NS // 1000, source="rest", max_bytes=3 * len(lines[0])
    )
    frames = [decode_frame(frame.data) for frame in sealed.frames]
    assert [line for frame in frames for line in split_lines(frame.body)] == lines
    assert [(f.header.sequence, f.header.lines) for f in frames] == [(1, 3), (2, 3), (3, 3)]
    assert {(f.header.source, f.header.channel) for f in frames} == {("rest", "exchangeInfo")}
    assert {(f.header.opened_at, f.header.closed_at) for f in frames} == {(TIME_NS // 1000,) * 2}
    assert all(not f.header.symbols for f in frames), "no ids, no control totals"
    assert sealed.messages == {"exchangeInfo": 9}


def test_no_lines_are_no_frame() -> None:
    it = sealer()
    assert it.seal_lines("exchangeInfo", [], 1, source="rest", max_bytes=10) == sealing.Sealed()
    assert it.sequence == 0


def test_halves_of_a_frame_keep_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "TARGET_MESSAGE_BYTES", 1)
    sealed = sealer().seal_lines("exchangeInfo", [b"{}"] * 4, 1, source="rest", max_bytes=10_000)
    assert [(f.header.sequence, f.header.lines) for f in sealed.frames] == [
        (number, 1) for number in range(1, 5)
    ]
    assert {frame.header.source for frame in sealed.frames} == {"rest"}
