import contextlib
import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from market_data import frames
from market_data.frames import (
    HEADER_PREFIX,
    Frame,
    FrameHeader,
    HeaderTotals,
    decode_frame,
    encode_frame,
    join_lines,
    split_frames,
    split_lines,
)
from market_data.rejections import Reason, Rejected

ids = st.integers(0, 2**63 - 1)
times = st.integers(0, 253_402_300_799_999_999)
texts = st.text(min_size=1, max_size=12)
names = st.text("AZaz09_.-", min_size=1, max_size=64)
totals = st.builds(
    HeaderTotals,
    ids,
    ids,
    ids,
    st.integers(0, 2**64),
    st.none() | st.decimals(0, 10**20, places=8),
    st.none() | st.decimals(0, 10**20, places=8),
)
headers = st.builds(
    FrameHeader,
    frame_id=texts,
    market=names,
    channel=names,
    collector=names,
    epoch=times,
    sequence=ids,
    source=texts,
    lines=st.integers(0, 10**6),
    opened_at=times,
    closed_at=times,
    symbols=st.dictionaries(texts, totals, max_size=4),
)
lines = st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=8)


@given(headers, lines)
def test_a_frame_survives_the_round_trip(header: FrameHeader, body: list[bytes]) -> None:
    frame = Frame(header, join_lines(body))
    assert decode_frame(encode_frame(frame)) == frame
    assert split_lines(frame.body) == body


@given(st.lists(st.tuples(headers, lines), max_size=4))
def test_an_object_is_its_frames_one_after_another(parts: list) -> None:
    encoded = [encode_frame(Frame(header, join_lines(body))) for header, body in parts]
    assert list(split_frames(b"".join(encoded))) == encoded


@given(headers, lines)
def test_the_content_begins_with_the_frame_id(header: FrameHeader, body: list[bytes]) -> None:
    data = encode_frame(Frame(header, join_lines(body)))
    assert zstandard.ZstdDecompressor().decompress(data).startswith(HEADER_PREFIX)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(data: bytes) -> None:
    for candidate in (data, frames.MAGIC + data, zstandard.compress(data)):
        with contextlib.suppress(Rejected):
            decode_frame(candidate)
        with contextlib.suppress(Rejected):
            list(split_frames(candidate))


def reason_of(data: bytes) -> Reason:
    with pytest.raises(Rejected) as caught:
        decode_frame(data)
    return caught.value.reason


def test_each_mistake_has_its_reason(header: FrameHeader) -> None:
    good = encode_frame(Frame(header, b"{}\n"))
    flipped = bytearray(good)
    flipped[-6] ^= 1
    assert reason_of(b"hello") is Reason.NOT_A_FRAME
    assert reason_of(b"") is Reason.NOT_A_FRAME
    assert reason_of(good[:-3]) is Reason.CORRUPT_FRAME
    assert reason_of(bytes(flipped)) is Reason.CORRUPT_FRAME
    assert reason_of(good + b"x") is Reason.CORRUPT_FRAME
    assert reason_of(zstandard.compress(b"no newline")) is Reason.HEADER_INVALID
    assert reason_of(zstandard.compress(b"{}\n")) is Reason.HEADER_INVALID
    assert reason_of(zstandard.compress(b"\xff\n")) is Reason.HEADER_INVALID


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_CONTENT_BYTES", 1000)
    assert reason_of(zstandard.compress(b"0" * 1001)) is Reason.FRAME_TOO_LARGE
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(b"0" * 100_000)
    assert reason_of(unsized) is Reason.CORRUPT_FRAME


def test_a_cut_object_is_noticed(header: FrameHeader) -> None:
    data = encode_frame(Frame(header, b"{}\n"))
    with pytest.raises(Rejected, match="cut off"):
        list(split_frames(data + data[:-4]))


def test_frames_of_any_make_are_split() -> None:
    """Many blocks, stored and repeated bytes, no checksum, no size: whatever zstd may write."""
    noise = random.Random(1).randbytes(300_000)
    made = [
        zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=sized).compress(data)
        for data in (b"", b"x", b"0" * 400_000, noise, noise[:100] * 5000)
        for checksum in (True, False)
        for sized in (True, False)
    ]
    assert list(split_frames(b"".join(made))) == made


def test_splitting_reads_no_content(header: FrameHeader) -> None:
    data = bytearray(encode_frame(Frame(header, b"{}\n")))
    data[-6] ^= 1
    (part,) = split_frames(bytes(data))
    assert reason_of(part) is Reason.CORRUPT_FRAME


def test_what_is_no_frame_in_an_object_is_noticed(header: FrameHeader) -> None:
    data = encode_frame(Frame(header, b"{}\n"))
    with pytest.raises(Rejected, match=f"at byte {len(data)} no zstd frame begins"):
        list(split_frames(data + b"hello"))
    with pytest.raises(Rejected, match="at byte 0"):
        list(split_frames(data[:4]))


def test_a_missing_last_newline_is_mended(header: FrameHeader) -> None:
    assert decode_frame(encode_frame(Frame(header, b"{}"))).body == b"{}\n"


@pytest.fixture
def header() -> FrameHeader:
    return FrameHeader(
        frame_id="c1/1/1",
        market="spot",
        channel="trade",
        collector="c1",
        epoch=1,
        sequence=1,
        source="stream",
        lines=1,
        opened_at=1,
        closed_at=1,
    )
