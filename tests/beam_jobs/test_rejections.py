import pyarrow as pa
import pytest

from beam_jobs.rejections import reject_frame, reject_line, reject_message
from market_data.batches import RejectedLine
from market_data.decode import from_microseconds
from market_data.rejections import MAX_PAYLOAD_BYTES, Reason, Rejected
from market_data.tables import REJECTIONS
from tests.beam_jobs.samples import NOW, header, trade

CAUSE = Rejected(Reason.OUT_OF_RANGE, "expected more than 0", field="p", value="0\x00")


def as_row(rejection: object) -> dict[str, object]:
    return {column.name: getattr(rejection, column.name) for column in REJECTIONS.columns}


def test_a_line() -> None:
    row = as_row(reject_line(RejectedLine(3, b"\xff line", CAUSE), header(trade(1)), NOW))
    assert row == {
        "market": "spot",
        "channel": "trade",
        "symbol": None,
        "stage": "line",
        "reason": "out_of_range",
        "field": "p",
        "value": "0\\x00",
        "detail": "expected more than 0",
        "exception_class": "Rejected",
        "payload": b"\xff line",
        "payload_bytes": 6,
        "archived_in": None,
        "received_at": None,
        "collector": "c1",
        "frame_id": "c1/7/1",
        "line_number": 3,
        "rejected_at": NOW,
    }


def test_a_frame() -> None:
    frame = header(trade(1))
    rejection = reject_frame(b"data", CAUSE, frame, NOW)
    assert (rejection.stage, rejection.payload, rejection.line_number) == ("frame", b"data", None)
    assert rejection.received_at == from_microseconds(frame.opened_at)


@pytest.mark.parametrize(
    ("attributes", "known"),
    [
        ({}, (None, None, None, None)),
        ({"market": "spot", "channel": "trade"}, ("spot", "trade", None, None)),
        ({"collector": "c1", "frame_id": "c1/7/1", "x": "y"}, (None, None, "c1", "c1/7/1")),
    ],
)
def test_a_message(attributes: dict[str, str], known: tuple[str | None, ...]) -> None:
    rejection = reject_message(b"?", CAUSE, attributes, archived_in="gs://b/x", now=NOW)
    found = (rejection.market, rejection.channel, rejection.collector, rejection.frame_id)
    assert found == known
    assert (rejection.stage, rejection.archived_in) == ("frame", "gs://b/x")


def test_a_large_payload_is_cut_and_its_size_kept() -> None:
    data = b"x" * (MAX_PAYLOAD_BYTES + 1)
    rejection = reject_message(data, CAUSE, {}, archived_in="gs://b/x", now=NOW)
    assert (len(rejection.payload), rejection.payload_bytes) == (MAX_PAYLOAD_BYTES, len(data))


def test_arrow_takes_it() -> None:
    rows = [
        as_row(reject_message(b"", CAUSE, {}, archived_in="gs://b/x", now=NOW)),
        as_row(reject_frame(b"\x00", CAUSE, header(), NOW)),
        as_row(reject_line(RejectedLine(1, b"\xff", CAUSE), header(), NOW)),
    ]
    batch = pa.RecordBatch.from_pylist(rows, REJECTIONS.arrow_schema)
    assert batch.to_pylist() == rows
