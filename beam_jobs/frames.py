"""Decode frames: a Pub/Sub message becomes a frame with its rows, or a rejection."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.gcp.pubsub import PubsubMessage

from beam_jobs.rejections import reject_frame, reject_line, reject_message
from market_data.batches import decode_batch
from market_data.decode import Origin, from_microseconds, to_microseconds
from market_data.frames import Frame, FrameHeader, HeaderTotals, decode_frame
from market_data.layouts import LAYOUTS
from market_data.records import FrameEntry, Rejection
from market_data.rejections import Reason, Rejected
from market_data.tables import Table
from market_data.totals import SymbolTotals, exact_sum, times_by_symbol, totals_by_symbol

FRAMES: Final = "frames"
REJECTIONS: Final = "rejections"
UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A message of the subscription that is a frame.

    Attributes:
        frame: the frame taken apart.
        data: the message's bytes, which the archive keeps as they are.
        published_at: Pub/Sub's publish time.
    """

    frame: Frame
    data: bytes
    published_at: datetime


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """What a frame becomes in BigQuery: rows of one table, and its entries in the ledger.

    Attributes:
        table: the rows' table; None for channels that are not loaded.
        rows: the rows.
        entry: the frame's own entry.
        totals: control totals by symbol.
        times: first and last time of the rows by symbol, for each symbol of the totals.
        rejections: lines, or the frame itself, that can't be used.
    """

    table: Table | None
    rows: pa.RecordBatch | None
    entry: FrameEntry
    totals: tuple[SymbolTotals, ...]
    times: dict[str, tuple[datetime, datetime]]
    rejections: list[Rejection]


class OpenFrames(beam.DoFn):
    """Take messages apart: frames, and rejections for what is none.

    Outputs:
        frames: ReceivedFrame.
        rejections: Rejection.
        unreadable: bytes of messages that are no frame.

    Args:
        bucket: bucket of the archive, for the address in the rejection.
    """

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    def process(self, element: PubsubMessage) -> Iterator[Any]:
        """Yield the frame of one message, or its rejection and its bytes."""
        try:
            frame = decode_frame(element.data)
        except Rejected as cause:
            yield beam.pvalue.TaggedOutput(UNREADABLE, element.data)
            yield beam.pvalue.TaggedOutput(
                REJECTIONS,
                reject_message(
                    element.data,
                    cause,
                    element.attributes or {},
                    archived_in=f"gs://{self._bucket}/{unreadable_path(element.data)}",
                    now=_now(),
                ),
            )
        else:
            published_at = from_microseconds(to_microseconds(element.publish_time))
            yield ReceivedFrame(frame, element.data, published_at)


def unreadable_path(data: bytes) -> str:
    """Return the archive path of a message that is no frame, by the SHA-256 of its bytes."""
    return f"raw/unreadable/{hashlib.sha256(data).hexdigest()}.bin"


def decode_received(received: ReceivedFrame, now: datetime) -> DecodedFrame:
    """Decode a frame's lines and check its header against what was found.

    Args:
        received: the frame.
        now: the time that its rows are given as `loaded_at`.
    """
    header, body = received.frame.header, received.frame.body
    origin = Origin(header.market, header.source, header.collector, header.frame_id, now)
    batch = decode_batch(body, header.channel, origin)
    layout = LAYOUTS.get(header.channel)
    rows = batch.rows
    totals = () if layout is None or rows is None else totals_by_symbol(rows, layout)
    times = {} if layout is None or rows is None else times_by_symbol(rows, layout)
    ignored = sum(batch.ignored.values())
    loaded = 0 if rows is None else rows.num_rows
    lines = loaded + ignored + len(batch.rejected)
    rejections = [reject_line(rejected, header, now) for rejected in batch.rejected]
    problem = _contradiction(header, lines, loaded, totals)
    if problem is not None:
        rejections.append(reject_frame(received.data, problem, header, now))
    entry = FrameEntry(
        frame_id=header.frame_id,
        market=header.market,
        channel=header.channel,
        collector=header.collector,
        epoch=header.epoch,
        sequence=header.sequence,
        source=header.source,
        header_lines=header.lines,
        lines=lines,
        loaded_rows=loaded,
        ignored_lines=ignored,
        rejected_lines=len(batch.rejected),
        body_bytes=len(body),
        message_bytes=len(received.data),
        opened_at=from_microseconds(header.opened_at),
        closed_at=from_microseconds(header.closed_at),
        published_at=received.published_at,
        loaded_at=now,
        sum_ids=exact_sum([row.sum_ids for row in totals]),
        sum_quantity=exact_sum([row.sum_quantity for row in totals]),
        sum_quote_quantity=exact_sum([row.sum_quote_quantity for row in totals]),
    )
    table = None if layout is None else layout.table
    return DecodedFrame(table, rows, entry, totals, times, rejections)


def _contradiction(
    header: FrameHeader, lines: int, loaded: int, totals: tuple[SymbolTotals, ...]
) -> Rejected | None:
    """Return how the frame contradicts its header, None when it does not.

    Totals are compared when every line became a row: the collector also counts the ids of lines
    that are rejected or ignored here.
    """
    if header.lines != lines:
        return Rejected(
            Reason.COUNT_MISMATCH,
            f"the header says {header.lines} lines, {lines} were found; those are loaded",
            field="lines",
            value=header.lines,
        )
    if loaded != lines:
        return None
    found = {row.symbol: row for row in totals}
    for symbol in sorted(found.keys() | header.symbols.keys()):
        said, counted = header.symbols.get(symbol), found.get(symbol)
        if said is None or counted is None or not _agree(said, counted):
            return Rejected(
                Reason.TOTALS_MISMATCH,
                f"{symbol}: the header says {said}, {counted} was found; the lines are loaded",
                field="symbols",
                value=symbol,
            )
    return None


def _agree(said: HeaderTotals, found: SymbolTotals) -> bool:
    """Compare all totals that the header has; quantities are counted only on demand."""
    ids = (said.first_id, said.last_id, said.count, Decimal(said.sum_ids))
    return (
        ids == (found.first_id, found.last_id, found.count, found.sum_ids)
        and said.sum_quantity in (None, found.sum_quantity)
        and said.sum_quote_quantity in (None, found.sum_quote_quantity)
    )


def _now() -> datetime:
    return datetime.now(UTC)
