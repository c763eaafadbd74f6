"""Raw objects to compact, made as the job makes them."""

import json
from datetime import UTC, datetime
from typing import Any

from beam_jobs.archive import ArchivedFrame, manifest_name, object_manifest
from market_data.frames import Frame, FrameHeader, HeaderTotals, encode_frame, join_lines
from plugins.market_ops.archive.compact import Hour
from plugins.market_ops.archive.storage import Store

HOUR = Hour("spot", datetime(2026, 2, 2, 2, tzinfo=UTC))
HOUR_MS = 1_769_997_600_000  # 2026-02-02T02:00:00Z

Trade = tuple[str, int, str, str, int, bool]  # symbol, id, price, quantity, ms of the hour, side


def line(trade: Trade) -> bytes:
    symbol, number, price, quantity, ms, side = trade
    data = {
        "e": "trade", "E": HOUR_MS + ms + 1, "s": symbol, "t": number, "p": price,
        "q": quantity, "T": HOUR_MS + ms, "m": side, "M": True,
    }  # fmt: skip
    stream = f"{symbol.lower()}@trade"
    envelope = {"received_at": (HOUR_MS + ms) * 1000, "stream": stream, "data": data}
    return json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()


def frame(lines: list[bytes], sequence: int) -> ArchivedFrame:
    ids: dict[str, list[int]] = {}
    for text in lines:
        try:
            data = json.loads(text)["data"]
            ids.setdefault(data["s"], []).append(data["t"])
        except (ValueError, TypeError):
            continue  # made up to be no trade
    header = FrameHeader(
        frame_id=f"c1/7/{sequence}", market="spot", channel="trade", collector="c1", epoch=7,
        sequence=sequence, source="stream", lines=len(lines), opened_at=1, closed_at=2,
        symbols={s: HeaderTotals(min(n), max(n), len(n), sum(n)) for s, n in ids.items()},
    )  # fmt: skip
    return ArchivedFrame(header, encode_frame(Frame(header, join_lines(lines))))


def put(store: Store, name: str, *groups: list[bytes], hour: Hour = HOUR) -> str:
    """Write an object of one frame a group; return its name."""
    frames = [frame(lines, number) for number, lines in enumerate(groups, start=1)]
    data = b"".join(each.data for each in frames)
    full = f"{hour.raw_folder}{name}.ndjson.zst"
    store.write(full, data)
    manifest: dict[str, Any] = object_manifest(full, data, frames)
    store.write(manifest_name(full), json.dumps(manifest).encode())
    return full
