"""Reads recorded websocket traffic from files: what was sent, byte for byte.

`read_frames` understands, line by line and whatever the file's name or compression (plain, gzip
or zstd, told by magic bytes; zstd files may be many frames one after another):

* a raw frame;
* a raw frame after a receive time: `<ns> <frame>` or `<seconds>: <frame>` (cryptofeed);
* `{"kind":…,"raw":"…"}`: the frame is the string `raw`;
* a line of our archive: `{"received_at":<us>,"stream":"…","data":…}`,
  `{"received_at":<us>,"data":…}` (a bare frame) or `{"received_at":<us>,"base64":"…"}`
  (any bytes); the frame is rebuilt by cutting the prefix off, nothing is encoded again.

Skipped and counted: blank lines, URL lines (cryptofeed's first), the archive's frame headers
(`{"frame_id":…`) and the lines of a frame that came before: after a restart of the job two objects
may hold the same frame. Pure reading: `playback.py` serves the frames.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import zstandard

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_RECEIVE_TIME = re.compile(rb"[0-9]{9,20}(?:\.[0-9]+)?:? +")
_RECEIVED_AT = re.compile(rb'\{"received_at":[0-9]+,')
_HEADER = re.compile(rb'\{"frame_id":"([^"]+)"')
_SKIPPED = re.compile(rb'\s*$|(?:wss?|https?)://|\{"frame_id":')
_STREAM = re.compile(rb'\s*\{\s*"stream"\s*:\s*"([^"\\]+)"')
# Bare payloads name their stream by event and symbol.
_EVENT_CHANNELS = {"trade": "trade", "aggTrade": "aggTrade", "depthUpdate": "depth"}


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One message: its bytes and the stream its envelope names (None for anything else)."""

    message: bytes
    stream: str | None


@dataclass(slots=True)
class Survey:
    """What a first pass over the files found.

    `streams` are the names a client must subscribe to (in order of appearance), `unnamed` counts
    frames without an envelope, `skipped` lines that are no frames.
    """

    frames: int = 0
    skipped: int = 0
    unnamed: int = 0
    streams: dict[str, None] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        """The symbols of the streams, upper case, in order of appearance."""
        names = (stream.partition("@")[0] for stream in self.streams if stream[0] != "!")
        return list(dict.fromkeys(name.upper() for name in names))

    @property
    def channels(self) -> list[str]:
        """The channel suffixes, for example trade and depth@100ms, in order of appearance."""
        suffixes = (stream.partition("@")[2] for stream in self.streams if stream[0] != "!")
        return list(dict.fromkeys(suffix for suffix in suffixes if suffix))


def survey(paths: Iterable[Path]) -> Survey:
    """Read all files once to learn which streams they hold and how many frames.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not what its first bytes promise (names the file).
    """
    found = Survey()
    for frame in read_frames(paths, found):
        found.frames += 1
        name = frame.stream
        if name is None:
            found.unnamed += 1
            name = _bare_stream(frame.message)
        if name:
            found.streams[name] = None
    return found


def read_frames(paths: Iterable[Path], count: Survey | None = None) -> Iterator[RecordedFrame]:
    """Yield the frames of all files in order, reading them a piece at a time.

    Args:
        paths: the files.
        count: its `skipped` is raised for every line that is no frame.
    """
    seen: set[bytes] = set()
    for path in paths:
        is_repeated = False
        with _open(path) as lines:
            try:
                for line in lines:
                    if header := _HEADER.match(line):
                        is_repeated = header[1] in seen
                        seen.add(header[1])
                    message = None if is_repeated else frame_of_line(line)
                    if message is not None:
                        yield RecordedFrame(message, stream_of(message))
                    elif count is not None:
                        count.skipped += 1
            except (zstandard.ZstdError, zlib.error, EOFError, gzip.BadGzipFile) as error:
                raise ValueError(f"{path}: damaged compressed file: {error}") from error


def frame_of_line(line: bytes) -> bytes | None:
    """Return the frame a line holds, or None for a line that is no frame."""
    line = line.rstrip(b"\r\n")
    if _SKIPPED.match(line):
        return None
    if archived := _RECEIVED_AT.match(line):
        return _archived_frame(line, archived.end())
    if line.startswith(b'{"kind":'):
        raw = _raw_of(line)
        if raw is not None:
            return raw
    if received := _RECEIVE_TIME.match(line):
        return line[received.end() :] or None
    return line


def stream_of(message: bytes) -> str | None:
    """Return the stream a combined message names, if it names one."""
    found = _STREAM.match(message)
    return found[1].decode(errors="replace") if found else None


def _archived_frame(line: bytes, prefix_end: int) -> bytes:
    if line.startswith(b'"data":', prefix_end):
        return line[prefix_end + len(b'"data":') : -1]
    if line.startswith(b'"base64":"', prefix_end):
        start = prefix_end + len(b'"base64":"')
        try:
            return base64.b64decode(line[start : line.index(b'"', start)], validate=True)
        except (binascii.Error, ValueError):
            return line
    return b"{" + line[prefix_end:]


def _raw_of(line: bytes) -> bytes | None:
    try:
        raw = json.loads(line)["raw"]
    except (ValueError, KeyError):
        return None
    return raw.encode(errors="surrogatepass") if isinstance(raw, str) else None


def _bare_stream(message: bytes) -> str | None:
    try:
        payload = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict) or not isinstance(payload.get("s"), str):
        return None
    symbol, event = payload["s"].lower(), payload.get("e")
    if event == "kline" and isinstance(payload.get("k"), dict):
        return f"{symbol}@kline_{payload['k'].get('i')}"
    if isinstance(event, str) and event in _EVENT_CHANNELS:
        return f"{symbol}@{_EVENT_CHANNELS[event]}"
    if event is None and {"u", "b", "B", "a", "A"} <= payload.keys():
        return f"{symbol}@bookTicker"
    return None


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        magic = raw.peek(4)[:4]
        if magic.startswith(_GZIP_MAGIC):
            with gzip.open(raw) as lines:
                yield cast("IO[bytes]", lines)
        elif magic == _ZSTD_MAGIC:
            reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
            with io.BufferedReader(reader, 1 << 20) as lines:
                yield lines
        else:
            yield raw
