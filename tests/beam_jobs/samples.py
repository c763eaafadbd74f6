"""Frames to test with, made as the collector makes them but by hand."""

import json
from datetime import UTC, datetime
from typing import Any

from beam_jobs.frames import ReceivedFrame
from market_data.frames import Frame, FrameHeader, HeaderTotals, encode_frame, frame_id, join_lines

NOW = datetime(2026, 2, 2, 2, 40, 1, tzinfo=UTC)
PUBLISHED_AT = datetime(2026, 2, 2, 2, 40, 0, 500_000, tzinfo=UTC)
OPENED_AT = 1_770_000_000_000_000  # 2026-02-02T02:40:00Z in µs


def trade(number: int, symbol: str = "BTCUSDT", **changes: Any) -> bytes:
    """Return a line with a trade of 0.2 at 2.5."""
    payload = {
        "e": "trade", "E": 1770000000001, "s": symbol, "t": number, "p": "2.50000000",
        "q": "0.20000000", "T": 1770000000000, "m": True, "M": True, **changes,
    }  # fmt: skip
    return line(f"{symbol.lower()}@trade", payload)


def line(stream: str, payload: Any) -> bytes:
    envelope = {"received_at": OPENED_AT, "stream": stream, "data": payload}
    return json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()


def exchange_info_line(entry: dict[str, Any]) -> bytes:
    """Return the line of a symbol's entry in an answer that lists two."""
    line = {"received_at": OPENED_AT, "listed": 2, "data": entry}
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode()


def header(*lines: bytes, channel: str = "trade", sequence: int = 1, **changes: Any) -> FrameHeader:
    """Return a header that fits the lines; `changes` make it lie."""
    fields: dict[str, Any] = {
        "frame_id": frame_id("c1", 7, sequence),
        "market": "spot",
        "channel": channel,
        "collector": "c1",
        "epoch": 7,
        "sequence": sequence,
        "source": "stream",
        "lines": len(lines),
        "opened_at": OPENED_AT + sequence * 1000,
        "closed_at": OPENED_AT + sequence * 1000 + 999,
        "symbols": _totals(lines) if channel == "trade" else {},
    }
    return FrameHeader(**fields | changes)


def frame(*lines: bytes, **options: Any) -> Frame:
    return Frame(header(*lines, **options), join_lines(lines))


def received(*lines: bytes, **options: Any) -> ReceivedFrame:
    found = frame(*lines, **options)
    return ReceivedFrame(found, encode_frame(found), PUBLISHED_AT)


def _totals(lines: tuple[bytes, ...]) -> dict[str, HeaderTotals]:
    ids: dict[str, list[int]] = {}
    for text in lines:
        try:
            payload = json.loads(text)["data"]
            ids.setdefault(payload["s"], []).append(payload["t"])
        except (ValueError, TypeError, KeyError):
            continue  # made up to be rejected
    return {
        symbol: HeaderTotals(min(found), max(found), len(found), sum(found))
        for symbol, found in ids.items()
    }
