"""Sealing: received messages become frames. Pure: bytes and times in, frames out.

The common case costs one pass: one scan finds that all messages are combined-stream envelopes of
one channel, and the stream and id of each; their receive times are spliced in front, and the frame
is compressed. Anything else (control replies, several channels, garbage) is sorted message
by message, so nothing is dropped and nothing stops.

A sealed frame tells the ids in it: its header has the run of each symbol, its pieces the ranges of
the symbols whose ids are not one run.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from collector.protocol import CONSECUTIVE_IDS
from collector.runs import ENVELOPE, Pieces, Runs, pieces_of, scan_runs
from collector.splicing import Times, join_messages, stamp
from market_data.batches import decode_batch
from market_data.channels import CONTROL, channel_of, symbol_of
from market_data.decode import Origin
from market_data.frames import (
    TARGET_MESSAGE_BYTES,
    Frame,
    FrameHeader,
    HeaderTotals,
    count_bytes,
    encode_frame,
    frame_id,
    join_lines,
    split_lines,
)
from market_data.layouts import LAYOUTS
from market_data.messages import classify
from market_data.rejections import Rejected
from market_data.totals import totals_by_symbol

_NOTICE: Final = "serverShutdown"
# Key of the id in the payload of the channels whose frames are counted without decoding them.
_ID_KEYS: Final = {"trade": "t", "aggTrade": "a", "bookTicker": "u"}
# Streams of 64 full connections; made-up names beyond that are looked up each time.
_MAX_KNOWN_STREAMS: Final = 65_536


@dataclass(frozen=True, slots=True)
class SealedFrame:
    """A frame ready for the spool.

    Attributes:
        header: its header.
        data: its encoded bytes.
        pieces: ranges of ids by symbol, where they are not one run.
        open_holes: what is to be kept of symbols whose holes the frame has changed, by
            `collector.continuity`; durable together with the frame.
    """

    header: FrameHeader
    data: bytes
    pieces: Pieces = field(default_factory=dict)
    open_holes: dict[tuple[str, str], bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Sealed:
    """What the messages of one buffer became.

    Attributes:
        frames: the frames, in order of sequence.
        messages: number of messages by channel.
        controls: the parsed control messages, for the connection to act on.
        is_kept: False when the frames are only counted: they have neither number nor data.
    """

    frames: list[SealedFrame] = field(default_factory=list)
    messages: dict[str, int] = field(default_factory=dict)
    controls: list[dict[str, Any]] = field(default_factory=list)
    is_kept: bool = True


class _Unusual(Exception):
    """The messages are not all envelopes of one channel."""


class Sealer:
    """Turns messages into frames and numbers them.

    Args:
        market: market of all messages.
        collector: id of this collector.
        epoch: start of this collector's life, µs since 1970.
        with_quantities: also count sums of quantity and quote quantity per symbol.
    """

    def __init__(self, *, market: str, collector: str, epoch: int, with_quantities: bool) -> None:
        self.sequence = 0
        self._epoch = epoch
        self._with_quantities = with_quantities
        self._origin = Origin(market, "stream", collector, "", datetime.fromtimestamp(0, UTC))
        self._consecutive = CONSECUTIVE_IDS.get(market, frozenset())
        self._streams: dict[str, tuple[str, str]] = {}

    def seal(
        self, messages: Sequence[bytes], times_ns: Sequence[int], *, is_kept: bool = True
    ) -> Sealed:
        """Seal messages that arrived on one connection.

        Args:
            messages: the messages, in order of arrival.
            times_ns: receive time of each, ns since 1970.
            is_kept: False to only count what is going to be dropped.
        """
        sealed = Sealed(is_kept=is_kept)
        if messages:
            times = np.array(times_ns, np.int64) // 1000
            try:
                self._seal_uniform(sealed, messages, times)
            except _Unusual:
                self._seal_sorted(sealed, messages, times)
        return sealed

    def seal_lines(
        self, channel: str, lines: Sequence[bytes], time: int, *, source: str, max_bytes: int
    ) -> Sealed:
        """Seal lines that did not come over a connection.

        Args:
            channel: the channel of all lines.
            lines: whole lines without their newlines.
            time: when all of them were received, µs since 1970.
            source: how they reached us: rest or archive.
            max_bytes: a frame is closed at so many bytes before compression.
        """
        sealed = Sealed(messages={channel: len(lines)} if lines else {})
        for part in _parts(lines, max_bytes):
            times = np.full(len(part), time, np.int64)
            self._emit(sealed, channel, join_lines(part), times, None, source)
        return sealed

    def _seal_uniform(self, sealed: Sealed, messages: Sequence[bytes], times: Times) -> None:
        channel = self._known(_stream_of(messages[0]))[0]
        if channel == _NOTICE:
            raise _Unusual  # the service acts on it
        body = join_messages(messages)
        runs = self._check(messages, body, channel)
        sealed.messages[channel] = len(messages)
        self._emit(sealed, channel, stamp(body, times), times, runs)

    def _seal_sorted(self, sealed: Sealed, messages: Sequence[bytes], times: Times) -> None:
        sorted_lines: dict[str, tuple[list[bytes], list[int]]] = {}
        for message, time in zip(messages, times.tolist(), strict=True):
            channel, line, control = _sort(message, time)
            lines, line_times = sorted_lines.setdefault(channel, ([], []))
            lines.append(line)
            line_times.append(time)
            if control is not None:
                sealed.controls.append(control)
        for channel, (lines, line_times) in sorted_lines.items():
            sealed.messages[channel] = len(lines)
            self._emit(sealed, channel, b"".join(lines), np.array(line_times), None)

    def _emit(
        self,
        sealed: Sealed,
        channel: str,
        body: bytes,
        times: Times,
        runs: Runs | None,
        source: str = "stream",
    ) -> None:
        """Add the lines as one frame, or as two halves when they are too much for one message."""
        sequence = self.sequence + 1
        counted = self._count_decoded(body, channel) if runs is None else runs
        header = FrameHeader(
            frame_id=frame_id(self._origin.collector, self._epoch, sequence),
            market=self._origin.market,
            channel=channel,
            collector=self._origin.collector,
            epoch=self._epoch,
            sequence=sequence,
            source=source,
            lines=len(times),
            opened_at=int(times[0]),
            closed_at=int(times[-1]),
            symbols=counted.totals,
        )
        if not sealed.is_kept:
            sealed.frames.append(SealedFrame(header, b"", counted.pieces))
            return
        data = encode_frame(Frame(header, body))
        if len(data) > TARGET_MESSAGE_BYTES and len(times) > 1:
            half, lines = len(times) // 2, split_lines(body)
            self._emit(sealed, channel, join_lines(lines[:half]), times[:half], None, source)
            self._emit(sealed, channel, join_lines(lines[half:]), times[half:], None, source)
            return
        self.sequence = sequence
        sealed.frames.append(SealedFrame(header, data, counted.pieces))

    def _check(self, messages: Sequence[bytes], body: bytearray, channel: str) -> Runs | None:
        """Make sure that each message is of `channel`, and count their ids where that is cheap.

        Raises:
            _Unusual: a message is not, or has a newline in it.
        """
        runs = None
        if channel in _ID_KEYS:
            runs = scan_runs(body, _ID_KEYS[channel], with_pieces=channel in self._consecutive)
        if runs is None:
            if {message[: len(ENVELOPE)] for message in messages} != {ENVELOPE}:
                raise _Unusual
            streams = list({_stream_of(message) for message in messages})
            lines = count_bytes(body, b"\n")
        else:
            streams = list(runs.totals)
            lines = sum(run.count for run in runs.totals.values())
        if lines != len(messages):
            raise _Unusual
        known = [self._known(stream) for stream in streams]
        if any(found != channel for found, _ in known):
            raise _Unusual
        if runs is None or (self._with_quantities and channel == "trade"):
            return None
        symbols = {stream: symbol for stream, (_, symbol) in zip(streams, known, strict=True)}
        return Runs(
            {symbols[stream]: totals for stream, totals in runs.totals.items()},
            {symbols[stream]: pieces for stream, pieces in runs.pieces.items()},
        )

    def _count_decoded(self, body: bytes, channel: str) -> Runs:
        """Count the lines that decode; the others become rejections downstream."""
        layout = LAYOUTS.get(channel)
        if layout is None or not layout.id_column:
            return Runs()
        rows = decode_batch(body, channel, self._origin).rows
        if rows is None or not rows.num_rows:
            return Runs()
        totals = {
            row.symbol: HeaderTotals(
                row.first_id,
                row.last_id,
                row.count,
                int(row.sum_ids),
                row.sum_quantity if self._with_quantities else None,
                row.sum_quote_quantity if self._with_quantities else None,
            )
            for row in totals_by_symbol(rows, layout)
        }
        if channel not in self._consecutive:
            return Runs(totals)
        symbols = rows.column("symbol").dictionary_encode()
        groups = symbols.indices.to_numpy().astype(np.int64)
        ids = rows.column(layout.id_column).to_numpy()
        return Runs(totals, pieces_of(symbols.dictionary.to_pylist(), groups, ids))

    def _known(self, stream: str) -> tuple[str, str]:
        """Return channel and symbol of a stream name, remembered."""
        known = self._streams.get(stream)
        if known is None:
            known = (channel_of(stream), symbol_of(stream) or stream)
            if len(self._streams) < _MAX_KNOWN_STREAMS:
                self._streams[stream] = known
        return known


def warm_up() -> None:
    """Seal a made-up message, so that libraries load their parts before the first real one."""
    sealer = Sealer(market="spot", collector="warm-up", epoch=1, with_quantities=True)
    trade = (
        b'{"stream":"a@trade","data":{"e":"trade","E":1770000000000,"s":"A","t":1,"p":"1","q":"1",'
        b'"T":1770000000000,"m":true,"M":true}}'
    )
    sealer.seal([trade, b"{}"], [1_770_000_000_000_000_000] * 2)


def _parts(lines: Sequence[bytes], max_bytes: int) -> Iterator[list[bytes]]:
    """Yield the lines in parts that end where they have so many bytes."""
    part: list[bytes] = []
    room = max_bytes
    for line in lines:
        part.append(line)
        room -= len(line)
        if room <= 0:
            yield part
            part, room = [], max_bytes
    if part:
        yield part


def _sort(message: bytes, time: int) -> tuple[str, bytes, dict[str, Any] | None]:
    """Return channel, line and, for a control message, its parsed form.

    The line keeps the message's bytes: spliced where they stand in one line of JSON, otherwise
    as base64.
    """
    is_one_line = b"\n" not in message
    if is_one_line and message.startswith(ENVELOPE):
        channel = channel_of(_stream_of(message))
        control = _parse(message) if channel == _NOTICE else None
        return channel, b'{"received_at":%d,%b\n' % (time, message[1:]), control
    control = _parse(message)
    if is_one_line and message.startswith(b"{"):
        line = b'{"received_at":%d,"data":%b}\n' % (time, message)
    else:
        line = b'{"received_at":%d,"base64":"%b"}\n' % (time, base64.b64encode(message))
    return _channel_of_bare(control), line, control


def _channel_of_bare(message: dict[str, Any] | None) -> str:
    if message is None:
        return CONTROL
    stream = message.get("stream")
    try:
        return classify(stream if isinstance(stream, str) else None, message)[0]
    except Rejected:
        return CONTROL


def _parse(message: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _stream_of(message: bytes) -> str:
    """Return the stream name of a combined-stream envelope; odd bytes never match a stream."""
    end = message.find(b'"', len(ENVELOPE))
    return message[len(ENVELOPE) : max(end, 0)].decode("utf-8", "replace")
