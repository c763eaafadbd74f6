"""Frames: many lines in one Pub/Sub message, the unit of transport and of book-keeping.

A frame is one zstd frame whose content is NDJSON: a header line, then the lines. A line is a
websocket message exactly as received behind its receive time in µs:

    {"frame_id":"c1/1732291200000000/42","market":"spot","channel":"trade",…}
    {"received_at":1732291201000000,"stream":"btcusdt@trade","data":{…the payload's own bytes…}}

Zstd frames may be concatenated, so an archive object is simply frames one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final

import msgspec
import numpy as np
import zstandard

from market_data.rejections import Reason, Rejected

# Pub/Sub takes 10 MB a message; Beam's DirectRunner pulls ten messages in gRPC's 4 MB.
MAX_MESSAGE_BYTES: Final = 10_000_000
TARGET_MESSAGE_BYTES: Final = 384 * 1024
# A frame that unpacks to more is a bomb or a mistake: the collector closes frames far below.
MAX_CONTENT_BYTES: Final = 64 * 1024 * 1024
MAGIC: Final = b"\x28\xb5\x2f\xfd"
HEADER_PREFIX: Final = b'{"frame_id":'
_MAX_HEADER_BYTES: Final = 18
_BLOCK_HEADER_BYTES: Final = 3
_CHECKSUM_BYTES: Final = 4
_REPEATED_BYTE: Final = 1  # the block type whose content is one byte, its size how often
# Lines repeat what stands a few lines above: a small table that remembers only the latest match is
# faster and gives fewer bytes a trade than the level's own, and than higher levels.
_LEVEL: Final = 1
_HASH_LOG: Final = 10


FrameKey = tuple[str, int, int]
"""Collector, epoch (start of its life in µs since 1970) and sequence: what identifies a frame."""

# What tables and the archive's paths can hold; a header beyond is none.
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Microseconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]  # in 9999


class HeaderTotals(msgspec.Struct, frozen=True):
    """Control totals of one symbol as the collector counted them.

    Attributes:
        first_id: smallest id.
        last_id: largest id.
        count: number of lines.
        sum_ids: sum of the ids.
        sum_quantity: sum of quantity; None where the collector does not count it.
        sum_quote_quantity: sum of quote quantity; None where the collector does not count it.
    """

    first_id: int
    last_id: int
    count: int
    sum_ids: int
    sum_quantity: Decimal | None = None
    sum_quote_quantity: Decimal | None = None


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first line of a frame.

    Attributes:
        frame_id: unique for ever: collector/epoch/sequence.
        market: market of the exchange, "spot".
        channel: channel of all its lines.
        collector: id of the collector that sealed it.
        epoch: start of the collector's life, µs since 1970.
        sequence: consecutive number in the epoch over all channels, from 1.
        source: stream, rest or archive.
        lines: number of lines after the header.
        opened_at: receive time of the first line, µs since 1970.
        closed_at: receive time of the last line, µs since 1970.
        symbols: control totals by symbol; empty for channels without ids.
        format: version of this format.
    """

    frame_id: str
    market: _Name
    channel: _Name
    collector: _Name
    epoch: _Microseconds
    sequence: _Count
    source: str
    lines: _Count
    opened_at: _Microseconds
    closed_at: _Microseconds
    symbols: dict[str, HeaderTotals] = {}
    format: int = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame taken apart: its header and its lines, each ended by a newline."""

    header: FrameHeader
    body: bytes


_ENCODER: Final = msgspec.json.Encoder()
_HEADER_DECODER: Final = msgspec.json.Decoder(FrameHeader)


def frame_id(collector: str, epoch: int, sequence: int) -> str:
    """Return the id of a collector's frame."""
    return f"{collector}/{epoch}/{sequence}"


def encode_frame(frame: Frame) -> bytes:
    """Encode a frame to the bytes of a Pub/Sub message.

    The zstd frame carries its content's checksum, so a flipped bit is found when decoding.
    """
    content = b"".join((_ENCODER.encode(frame.header), b"\n", frame.body))
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, source_size=len(content), hash_log=_HASH_LOG, write_checksum=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def decode_frame(data: bytes) -> Frame:
    """Decode the bytes of a Pub/Sub message to a frame; its lines are not looked at.

    Raises:
        Rejected: `data` is no frame, is corrupt, unpacks to more than 64 MiB, or its header is
            invalid.
    """
    content = _decompress(data)
    end = content.find(b"\n")
    if end < 0:
        raise Rejected(Reason.HEADER_INVALID, "the frame has no header line")
    try:
        header = _HEADER_DECODER.decode(content[:end])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Rejected(Reason.HEADER_INVALID, str(error), value=content[: min(end, 256)]) from None
    body = content[end + 1 :]
    if body and not body.endswith(b"\n"):
        body += b"\n"
    return Frame(header, body)


def split_frames(data: bytes) -> Iterator[bytes]:
    """Yield the zstd frames that an archive object is made of, each as `decode_frame` takes it.

    Only the sizes that stand before each block are read (RFC 8878, sections 3.1.1 and 3.1.1.2);
    whether the content is whole is `decode_frame`'s to say.

    Raises:
        Rejected: the object does not end with a whole frame, or holds something else.
    """
    view, start = memoryview(data), 0
    while start < len(data):
        end = _frame_end(view, start)
        yield data[start:end]
        start = end


def _frame_end(view: memoryview, start: int) -> int:
    """Return where the zstd frame that begins at `start` ends."""
    if bytes(view[start : start + len(MAGIC)]) != MAGIC:
        raise Rejected(Reason.CORRUPT_FRAME, f"at byte {start} no zstd frame begins")
    header = view[start : start + _MAX_HEADER_BYTES]
    try:
        place = start + zstandard.frame_header_size(header)
        has_checksum = zstandard.get_frame_parameters(header).has_checksum
    except zstandard.ZstdError as error:
        raise Rejected(Reason.CORRUPT_FRAME, f"at byte {start}: {error}") from None
    is_last = False
    while not is_last:
        block = int.from_bytes(view[place : place + _BLOCK_HEADER_BYTES], "little")
        is_last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        place += _BLOCK_HEADER_BYTES + (1 if kind == _REPEATED_BYTE else size)
        if place > len(view):
            break
    place += _CHECKSUM_BYTES if has_checksum else 0
    if place > len(view):
        raise Rejected(Reason.CORRUPT_FRAME, "the last frame is cut off")
    return place


def split_lines(body: bytes) -> list[bytes]:
    """Return a body's lines without their newlines."""
    return body.split(b"\n")[:-1]


def count_bytes(body: bytes | bytearray, value: bytes) -> int:
    """Return how often a single byte stands in `body`, ten times as fast as `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(value)))


def join_lines(lines: Iterable[bytes]) -> bytes:
    """Return the body of these lines, each ended by a newline."""
    return b"".join(line + b"\n" for line in lines)


def _decompress(data: bytes) -> bytes:
    if not data.startswith(MAGIC):
        raise Rejected(Reason.NOT_A_FRAME, "the message does not begin as zstd does")
    try:
        size = zstandard.frame_content_size(data)
        if size > MAX_CONTENT_BYTES:
            raise Rejected(
                Reason.FRAME_TOO_LARGE, f"unpacks to {size} bytes, 64 MiB are allowed", value=size
            )
        return zstandard.ZstdDecompressor().decompress(
            data, max_output_size=MAX_CONTENT_BYTES, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise Rejected(Reason.CORRUPT_FRAME, str(error)) from None
