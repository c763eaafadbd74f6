import base64
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from sandbox.exchange.recording import frame_of_line, read_frames, stream_of, survey

TRADE = b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":1,"p":"1.0","q":"2"}}'
DEPTH = b'{"stream":"\xe5\xb8\x81usdt@depth@100ms","data":{"e":"depthUpdate","b":[],"a":[]}}'
BARE = b'{"e":"aggTrade","s":"ETHUSDT","a":5,"p":"1.00000000","q":"1.00000000"}'
GARBAGE = b'{"stream":"btcusdt@tra\xff\xfe'


def zstd(*parts: bytes) -> bytes:
    return b"".join(zstandard.compress(part) for part in parts)


def zstd_stream(data: bytes) -> bytes:
    out = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
        writer.write(data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        (TRADE, TRADE),
        (TRADE + b"\r\n", TRADE),
        (b"1723161253937085768 " + TRADE, TRADE),
        (b"1633998512.0633569: " + DEPTH, DEPTH),
        (b'{"received_at":17,' + TRADE[1:], TRADE),
        (b'{"received_at":17,"data":' + BARE + b"}", BARE),
        (b'{"received_at":17,"data":[1, 2]}', b"[1, 2]"),
        (b'{"received_at":17,"base64":"' + base64.b64encode(GARBAGE) + b'"}', GARBAGE),
        (b'{"received_at":17,"base64":"***"}', b'{"received_at":17,"base64":"***"}'),
        (json.dumps({"kind": "x", "raw": BARE.decode()}).encode(), BARE),
        (b'{"kind":"no raw"}', b'{"kind":"no raw"}'),
        (GARBAGE, GARBAGE),
        (b"not json", b"not json"),
        (b"", None),
        (b"  \n", None),
        (b"wss://stream.binance.com:9443/stream?streams=a <-> 163", None),
        (b'{"frame_id":"x","count":2}', None),
    ],
)
def test_every_form_of_line(line: bytes, frame: bytes | None) -> None:
    assert frame_of_line(line) == frame


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("plain", bytes),
        ("gzip", gzip.compress),
        ("zstd", zstd),
        ("streamed zstd", zstd_stream),
        ("many zstd frames", lambda data: zstd(data[:50], data[50:51], b"", data[51:])),
    ],
)
def test_every_compression(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / name
    path.write_bytes(pack(b"\n".join([TRADE, b"", DEPTH, GARBAGE]) + b"\n"))
    assert [f.message for f in read_frames([path, path])] == [TRADE, DEPTH, GARBAGE] * 2


def test_a_frame_in_two_archive_objects_is_read_once(tmp_path: Path) -> None:
    frames = [b'{"frame_id":"c/1/%d"}\n%b\n' % (n, each) for n, each in enumerate((TRADE, DEPTH))]
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(zstd(frames[0]))
    second.write_bytes(zstd(frames[0], frames[1], frames[0]))
    assert [f.message for f in read_frames([first, second])] == [TRADE, DEPTH]


def test_the_survey_names_streams_symbols_and_channels(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    book = b'{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}'
    kline = b'{"e":"kline","s":"ETHUSDT","k":{"i":"1m"}}'
    lines = [TRADE, DEPTH, BARE, book, kline, GARBAGE, b"", b'{"result":null,"id":1}']
    path.write_bytes(b"\n".join([*lines, b'{"stream":"!serverShutdown","data":{}}']))
    found = survey([path])
    assert list(found.streams) == [
        "btcusdt@trade", "币usdt@depth@100ms", "ethusdt@aggTrade", "btcusdt@bookTicker",
        "ethusdt@kline_1m", "!serverShutdown",
    ]  # fmt: skip
    assert found.symbols == ["BTCUSDT", "币USDT", "ETHUSDT"]
    assert found.channels == ["trade", "depth@100ms", "aggTrade", "bookTicker", "kline_1m"]
    assert (found.frames, found.skipped, found.unnamed) == (8, 1, 5)


def test_an_empty_file_is_an_empty_recording(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    assert survey([path]).frames == 0


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_damaged_file_is_named(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(pack(TRADE * 50)[:8] + b"\xff\xff\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="damaged: damaged compressed file"):
        survey([path])


def test_a_stream_needs_an_envelope() -> None:
    assert stream_of(TRADE) == "btcusdt@trade"
    assert stream_of(b' { "stream" : "a@b" , "data":1}') == "a@b"
    assert stream_of(BARE) is None


def test_the_real_recordings(recorded: Path) -> None:
    spot = survey([recorded / "ws" / "btcusdt_20240808.spot.gz"])
    assert (spot.frames, spot.skipped, spot.unnamed) == (41_249, 0, 1)
    assert spot.symbols == ["BTCUSDT"]
    assert sorted(spot.channels) == ["bookTicker", "depth@100ms", "trade"]
    cryptofeed = survey([recorded / "ws" / "BINANCE_US.ws.1.0"])
    assert cryptofeed.skipped == 1
    assert sorted(cryptofeed.channels) == ["aggTrade", "bookTicker", "depth@100ms", "kline_1m"]
    odd = survey([recorded / "odd" / "odd_messages.jsonl"])
    assert odd.skipped == 0
    assert "ELFBUSD" in odd.symbols
