"""Rejections: lines, frames and messages that could not be used become rows of raw.rejections."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from market_data.batches import RejectedLine
from market_data.decode import from_microseconds
from market_data.frames import FrameHeader
from market_data.records import Rejection
from market_data.rejections import MAX_PAYLOAD_BYTES, Rejected
from market_data.tables import REJECTIONS


def reject_message(
    data: bytes, cause: Rejected, attributes: Mapping[str, str], *, archived_in: str, now: datetime
) -> Rejection:
    """Return the rejection of a message that is no frame.

    Args:
        data: the message's bytes.
        cause: why it is no frame.
        attributes: its attributes, the only hint at where it came from.
        archived_in: gs:// address where the bytes are kept whole.
        now: time of the rejection.
    """
    return _rejection(
        data,
        cause,
        now,
        stage="frame",
        archived_in=archived_in,
        **{name: attributes.get(name) for name in ("market", "channel", "collector", "frame_id")},
    )


def reject_frame(data: bytes, cause: Rejected, header: FrameHeader, now: datetime) -> Rejection:
    """Return the rejection of a frame that contradicts itself; its lines are loaded all the same.

    The bytes are those of the whole message, as the archive has them.
    """
    received_at = from_microseconds(header.opened_at)
    return _rejection(data, cause, now, stage="frame", received_at=received_at, **_origin(header))


def reject_line(rejected: RejectedLine, header: FrameHeader, now: datetime) -> Rejection:
    """Return the rejection of one line of a frame."""
    return _rejection(
        rejected.line,
        rejected.cause,
        now,
        stage="line",
        line_number=rejected.number,
        **_origin(header),
    )


def _origin(header: FrameHeader) -> dict[str, str]:
    return {
        "market": header.market,
        "channel": header.channel,
        "collector": header.collector,
        "frame_id": header.frame_id,
    }


def _rejection(payload: bytes, cause: Rejected, now: datetime, **known: Any) -> Rejection:
    """Return a rejection; what is not known of it is null."""
    unknown: dict[str, Any] = dict.fromkeys(column.name for column in REJECTIONS.columns)
    found = {
        "reason": cause.reason,
        "field": cause.field,
        "value": cause.value,
        "detail": cause.detail,
        "exception_class": type(cause).__name__,
        "payload": payload[:MAX_PAYLOAD_BYTES],
        "payload_bytes": len(payload),
        "rejected_at": now,
    }
    return Rejection(**(unknown | found | known))
