"""Records of holes: made by the collector, loaded like any other channel."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from market_data.batches import decode_batch
from market_data.decode import Origin, decode_line
from market_data.messages import classify
from market_data.records import HoleRecord
from market_data.rejections import Rejected
from market_data.tables import HOLES

NOW = datetime(2026, 2, 2, 2, 40, tzinfo=UTC)
ORIGIN = Origin("spot", "rest", "c1", "c1/7/3", NOW)
RECORD: dict[str, Any] = {
    "run_id": "c1/7", "channel": "trade", "symbol": "币安USDT", "first_missing_id": 2,
    "last_missing_id": 4, "missing": 3, "found_at": 1_770_000_000_000_000,
    "closed_at": 1_770_000_001_000_001, "outcome": "healed", "cause": "disconnect",
    "witnesses": "", "frames": "c1/7/1, c1/7/2", "detail": "",
}  # fmt: skip


def line(**changes: Any) -> bytes:
    record = {key: value for key, value in (RECORD | changes).items() if value is not None}
    return json.dumps({"received_at": 1_770_000_001_000_002, "data": record}).encode()


def test_a_record_becomes_a_row() -> None:
    found = decode_line(line(), "hole", ORIGIN)
    assert isinstance(found, HoleRecord)
    start = datetime.fromtimestamp(1_770_000_000, UTC)
    assert (found.found_at, found.closed_at) == (
        start,
        start + timedelta(seconds=1, microseconds=1),
    )
    assert (found.market, found.source, found.collector, found.frame_id) == (
        *("spot", "rest", "c1", "c1/7/3"),
    )
    assert (found.symbol, found.frames, found.missing) == ("币安USDT", "c1/7/1, c1/7/2", 3)


def test_a_frame_of_records_has_the_table_s_schema() -> None:
    body = line() + b"\n" + line(outcome="failed", closed_at=None, detail="x" * 9_999) + b"\n"
    batch = decode_batch(body, "hole", ORIGIN)
    assert batch.rows.schema == HOLES.arrow_schema
    assert batch.rows.column("closed_at").null_count == 1
    assert len(batch.rows.column("detail")[1].as_py()) == 9_999
    assert batch.rejected == []


@pytest.mark.parametrize("change", [{"outcome": 7}, {"missing": -1}, {"symbol": ""}])
def test_a_wrong_record_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        decode_line(line(**change), "hole", ORIGIN)


def test_it_is_told_by_its_shape() -> None:
    assert classify(None, RECORD) == ("hole", "hole")
