import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_jobs import load
from beam_jobs.frames import ReceivedFrame, decode_received
from beam_jobs.load import (
    LoadFrames,
    LoadRejections,
    WriterPool,
    ledger_by_table,
    rows_by_table,
)
from beam_jobs.rejections import reject_message
from market_data.rejections import Reason, Rejected
from market_data.tables import FRAME_SYMBOLS, FRAMES, REJECTIONS, TRADES, Table
from tests.beam_jobs.samples import NOW, line, received, trade

LATER = NOW + timedelta(seconds=2)
DEPTH = received(line("btcusdt@depth", {"s": "BTCUSDT"}), channel="depth", sequence=9)


def decode(*frames: ReceivedFrame) -> list[Any]:
    return [decode_received(each, NOW) for each in frames]


class Writer:
    """Acknowledges what is sent when it is flushed, or refuses one table."""

    def __init__(self) -> None:
        self.sent: list[tuple[Table, list[dict[str, Any]]]] = []
        self.appends: list[tuple[Table, list[dict[str, Any]]]] = []
        self.refuses: Table | None = None

    def send(self, rows: Mapping[Table, Sequence[pa.RecordBatch]]) -> None:
        for table, batches in rows.items():
            found = pa.Table.from_batches(batches, table.arrow_schema)
            self.sent.append((table, found.to_pylist()))

    def flush(self) -> None:
        if any(table == self.refuses for table, _ in self.sent):
            raise ConnectionError("BigQuery is away")
        self.appends += self.sent
        self.sent = []

    def append(self, rows: Mapping[Table, Sequence[pa.RecordBatch]]) -> None:
        self.send(rows)
        self.flush()

    def discard(self) -> None:
        self.sent = []

    @property
    def tables(self) -> list[str]:
        return [table.full_name for table, _ in self.appends]


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    writer = Writer()
    monkeypatch.setattr(load, "StorageWriter", lambda project: writer)
    return writer


@pytest.fixture
def step(writer: Writer) -> LoadFrames:
    step = LoadFrames("project")
    step.setup()
    step.start_bundle()
    return step


class TestRowsByTable:
    def test_batches_of_a_table_stay_together(self) -> None:
        first, second = decode(received(trade(1)), received(trade(2), trade(3), sequence=2))
        assert rows_by_table([first, second]) == {TRADES: [first.rows, second.rows]}

    def test_nothing_to_append_is_left_out(self) -> None:
        assert rows_by_table(decode(received(), DEPTH, received(b"garbage"))) == {}
        assert rows_by_table([]) == {}


class TestLedgerByTable:
    def test_schemas_and_rows(self) -> None:
        frames = decode(received(trade(1), trade(2, "ETHUSDT")), DEPTH)
        ledger = ledger_by_table(frames, LATER)
        assert ledger.keys() == {FRAMES, FRAME_SYMBOLS}
        for table, (batch,) in ledger.items():
            assert batch.schema == table.arrow_schema
            assert set(batch.column("loaded_at").to_pylist()) == {LATER}
        assert ledger[FRAMES][0].column("frame_id").to_pylist() == ["c1/7/1", "c1/7/9"]
        symbols = ledger[FRAME_SYMBOLS][0].to_pylist()
        traded_at = frames[0].rows.column("traded_at")[1].as_py()
        assert [(row["symbol"], row["frame_id"]) for row in symbols] == [
            ("BTCUSDT", "c1/7/1"),
            ("ETHUSDT", "c1/7/1"),
        ]
        assert symbols[1]["sum_ids"] == 2
        assert symbols[1]["first_at"] == symbols[1]["last_at"] == traded_at
        assert symbols[1]["sum_quote_quantity"] == Decimal("0.5")

    def test_frames_without_symbols_have_an_entry_only(self) -> None:
        assert list(ledger_by_table(decode(DEPTH), LATER)) == [FRAMES]

    def test_no_frames(self) -> None:
        assert ledger_by_table([], LATER) == {}


class TestLoadFrames:
    def test_a_bundle_becomes_one_append_a_table_rows_first(
        self, step: LoadFrames, writer: Writer
    ) -> None:
        for sequence in (1, 2, 3):
            assert list(step.process(received(trade(sequence), sequence=sequence))) == []
        assert writer.appends == []
        step.finish_bundle()
        assert writer.tables[0] == "raw.trades"
        assert sorted(writer.tables[1:]) == ["ops.frame_symbols", "ops.frames"]
        found = dict(writer.appends)
        rows, entries = found[TRADES], found[FRAMES]
        assert [row["trade_id"] for row in rows] == [1, 2, 3]
        assert [row["sequence"] for row in entries] == [1, 2, 3]
        assert all(entry["loaded_at"] >= row["loaded_at"] for entry in entries for row in rows)

    def test_a_long_bundle_is_sent_and_entered_in_between(
        self, step: LoadFrames, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(load, "ROWS_PER_APPEND", 4)
        monkeypatch.setattr(load, "MAX_ROWS", 8)
        states = []
        for sequence in range(1, 6):
            list(step.process(received(trade(1), trade(2), sequence=sequence)))
            states.append((len(writer.sent), writer.tables.count("ops.frames")))
        assert states == [(0, 0), (1, 0), (1, 0), (0, 1), (0, 1)]
        step.finish_bundle()
        assert writer.tables.count("raw.trades") == 3
        entries = [
            row["sequence"] for table, rows in writer.appends if table is FRAMES for row in rows
        ]
        assert entries == [1, 2, 3, 4, 5]

    def test_rejections_are_yielded_at_once(self, step: LoadFrames) -> None:
        (output,) = step.process(received(trade(1), b"garbage"))
        assert (output.tag, output.value.reason) == ("rejections", "not_json")

    def test_no_entry_without_acknowledged_rows(self, step: LoadFrames, writer: Writer) -> None:
        writer.refuses = TRADES
        list(step.process(received(trade(1))))
        with pytest.raises(ConnectionError):
            step.finish_bundle()
        assert writer.appends == []
        writer.refuses = None
        step.start_bundle()  # the runner repeats the bundle
        list(step.process(received(trade(1))))
        step.finish_bundle()
        assert len(writer.appends[0][1]) == 1

    def test_an_empty_bundle(self, step: LoadFrames, writer: Writer) -> None:
        step.finish_bundle()
        assert writer.appends == []


class TestWriterPool:
    def test_a_thread_keeps_its_writer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(load, "StorageWriter", lambda project: Writer())
        pool = WriterPool("project")
        assert pool.get() is pool.get()
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(pool.get).result() is not pool.get()

    def test_it_outlives_the_steps_of_a_bundle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(load, "StorageWriter", lambda project: Writer())
        step = LoadFrames("project")
        for _ in range(2):  # as DirectRunner does
            copy = pickle.loads(pickle.dumps(step))  # noqa: S301 # our own
            copy.setup()
            copy.start_bundle()
            copy.process(received(trade(1)))
        writers = {id(copy._writer)}
        other = pickle.loads(pickle.dumps(step))  # noqa: S301 # our own
        other.setup()
        other.start_bundle()
        assert writers == {id(other._writer)}


class TestLoadRejections:
    def test_a_bundle_is_one_append(self, writer: Writer) -> None:
        step = LoadRejections("project")
        step.setup()
        cause = Rejected(Reason.NOT_A_FRAME, "no zstd")
        for data in (b"", b"\xff"):
            step.start_bundle()
            rejection = reject_message(data, cause, {}, archived_in="gs://b/x", now=NOW)
            step.process(rejection)
            step.process(rejection)
            step.finish_bundle()
        step.start_bundle()
        step.finish_bundle()
        assert writer.tables == [REJECTIONS.full_name] * 2
        assert [row["payload"] for row in writer.appends[1][1]] == [b"\xff"] * 2
