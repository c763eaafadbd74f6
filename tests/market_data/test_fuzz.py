"""A little of `tests.fuzz` with every run: hypothesis for the shapes, the mutator for the bytes."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.channels import CHANNELS
from tests import fuzz

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "50"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_rejected(data: bytes) -> None:
    fuzz.check_frame(data)
    fuzz.check_frame(fuzz.MAGIC + data)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from([*CHANNELS]), JSON, st.sampled_from([None, "btcusdt@trade", "x@kline_1m"]))
def test_any_payload_is_a_record_ignored_or_rejected(
    channel: str, payload: object, stream: str | None
) -> None:
    named = {} if stream is None else {"stream": stream}
    line = fuzz.json.dumps({"received_at": 1_770_000_000_000_000, **named, "data": payload})
    fuzz.check_line(line.encode("utf-8", "surrogatepass"), channel)


@pytest.mark.parametrize(
    ("channel", "line"),
    [
        (
            "bookTicker",  # Arrow read the long price as 0
            b'{"received_at":1770000000000000,"stream":"bttcusdt@bookTicker","data":{"u":1,'
            b'"s":"BTTCUSDT","b":"0.00000027","B":"1.0",'
            b'"a":"0.009999999999999999999999999999999999999999000028","A":"7.0"}}',
        ),
        (
            "bookTicker",  # Arrow read the huge quantity as another number
            b'{"received_at":1770000000000000,"stream":"bttcusdt@bookTicker","data":{"u":1,'
            b'"s":"BTTCUSDT","b":"0.1","B":"1.0","a":"0.2",'
            b'"A":"70467118403118446744073709551616.0"}}',
        ),
        ("bookTicker", b'{"received_at":1e4001770000000000000,"data":1}'),  # Decimal refused it
        (
            "bookTicker",  # zeros beyond the ninth decimal made more digits than Arrow takes
            b'{"received_at":1770000001000000,"st\\ream":"neobtc@bookTicker","data":{"u":1,'
            b'"s":"NEOBTC","b":"18446744073709551616.000000000000000000000000","B":"0.0",'
            b'"a":"0.0","A":"0.0"}}',
        ),
    ],
)
def test_what_the_fuzzer_found_stays_found(channel: str, line: bytes) -> None:
    fuzz.check_line(line, channel)


def test_the_mutator_finds_no_crash_and_always_breaks_the_same() -> None:
    told: list[str] = []
    assert fuzz.fuzz(500, seed=7, tell=told.append) == 0, "\n".join(told)
    line = fuzz.golden_lines()[0][1]
    assert fuzz.mutated(fuzz.Random(3), line, [line]) == fuzz.mutated(fuzz.Random(3), line, [line])


def test_a_crash_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RecursionError("deep")

    monkeypatch.setattr(fuzz, "decode_line", crash)
    assert fuzz.fuzz(50, seed=1, tell=lambda _: None) > 10


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> None:
        while True:
            pass

    monkeypatch.setattr(fuzz, "CASE_SECONDS", 0.005)
    monkeypatch.setattr(fuzz, "decode_line", hang)
    told: list[str] = []
    assert fuzz.fuzz(5, seed=1, tell=told.append) > 0
    assert "TooSlow" in told[0]
