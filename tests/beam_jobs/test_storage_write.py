from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from google.api_core import exceptions
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import storage_write
from beam_jobs.frames import decode_received
from beam_jobs.storage_write import ATTEMPTS, StorageWriter, split_batch
from market_data.tables import FRAMES, TRADES, Table
from tests.beam_jobs.samples import NOW, received, trade

PROJECT = "test-project"


class Service:
    """BigQuery at the seam: refuses what the script says, per table, then takes everything."""

    def __init__(self, **errors: list[Exception]) -> None:
        self.errors = errors
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.appended: list[tuple[str, pa.RecordBatch]] = []
        self.requests = 0

    def open_stream(self, _client: Any, template: Any) -> "Stream":
        self.opened.append(template.write_stream)
        schema = template.arrow_rows.writer_schema.serialized_schema
        return Stream(self, template.write_stream, pa.ipc.read_schema(pa.py_buffer(schema)))

    def ids(self) -> list[int]:
        """Return the trade ids that were acknowledged."""
        return [
            trade_id
            for name, batch in self.appended
            if name == path(TRADES)
            for trade_id in batch.column("trade_id").to_pylist()
        ]


class Stream:
    """Answers requests in their order, as AppendStream does."""

    def __init__(self, service: Service, name: str, schema: pa.Schema) -> None:
        self._service, self._name, self._schema = service, name, schema
        self._requests: list[Any] = []

    def send(self, request: Any) -> "Stream":
        assert request.write_stream == self._name
        self._requests.append(request)
        return self

    def result(self, timeout: float) -> None:
        assert timeout == storage_write.APPEND_SECONDS
        self._service.requests += 1
        request = self._requests.pop(0)
        errors = self._service.errors.get(self._name.split("/")[3])
        if errors:
            raise errors.pop(0)
        data = request.arrow_rows.rows.serialized_record_batch
        batch = pa.ipc.read_record_batch(pa.py_buffer(data), self._schema)
        self._service.appended.append((self._name, batch))

    def close(self) -> None:
        self._service.closed.append(self._name)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> Iterator[Any]:
    monkeypatch.setenv(storage_write.EMULATOR_VARIABLE, "127.0.0.1:9")  # nobody calls there
    writers = []

    def build(service: Service) -> StorageWriter:
        writers.append(StorageWriter(PROJECT, waits.append, service.open_stream))
        return writers[-1]

    yield build
    for writer in writers:
        writer.close()


def trades(*numbers: int) -> pa.RecordBatch:
    return decode_received(received(*[trade(number) for number in numbers]), NOW).rows


def an_entry() -> pa.RecordBatch:
    schema = FRAMES.arrow_schema
    return pa.RecordBatch.from_arrays([pa.nulls(1, field.type) for field in schema], schema=schema)


def path(table: Table) -> str:
    return f"projects/{PROJECT}/datasets/{table.dataset}/tables/{table.name}/streams/_default"


def test_batches_of_a_table_go_in_one_append(make: Any) -> None:
    service = Service()
    make(service).append({TRADES: [trades(1, 2), trades(3)], FRAMES: [an_entry()]})
    (name, batch), (other, _) = service.appended
    assert (name, other) == (path(TRADES), path(FRAMES))
    assert batch.schema == TRADES.arrow_schema
    assert batch.column("trade_id").to_pylist() == [1, 2, 3]


def test_a_table_has_one_stream(make: Any) -> None:
    service = Service()
    writer = make(service)
    for number in range(3):
        writer.append({TRADES: [trades(number)]})
    writer.append({})
    assert service.opened == [path(TRADES)]
    assert service.ids() == [0, 1, 2]


def test_what_is_sent_is_waited_for_by_flush(make: Any) -> None:
    service = Service()
    writer = make(service)
    writer.send({TRADES: [trades(1)]})
    writer.send({TRADES: [trades(2)]})
    assert service.appended == []
    writer.flush()
    assert service.ids() == [1, 2]
    writer.flush()
    assert service.requests == 2


@pytest.mark.parametrize(
    "error",
    [
        exceptions.Aborted("idle"),
        exceptions.DeadlineExceeded("slow"),
        exceptions.InternalServerError("oops"),
        exceptions.ServiceUnavailable("away"),
        exceptions.Unknown("There was a problem opening the stream."),
        exceptions.Cancelled("cut"),
        TimeoutError(),
        ConnectionError("reset"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_pass_is_repeated_on_a_new_stream(
    make: Any, waits: list[float], error: Exception
) -> None:
    service = Service(raw=[error, error])
    make(service).append({TRADES: [trades(1)]})
    assert service.ids() == [1]
    assert service.opened == [path(TRADES)] * 3
    assert service.closed == [path(TRADES)] * 2
    assert len(waits) == 2
    assert 0.1 <= waits[0] <= 0.2 <= waits[1] <= 0.4


def test_what_was_sent_behind_a_failure_is_repeated_and_what_was_before_is_not(make: Any) -> None:
    service = Service()
    writer = make(service)
    writer.send({TRADES: [trades(1)]})
    writer.flush()
    service.errors["raw"] = [exceptions.Aborted("idle")]
    writer.send({TRADES: [trades(2)]})
    writer.send({TRADES: [trades(3)]})
    writer.flush()
    assert service.ids() == [1, 2, 3]


def test_a_failure_of_one_table_leaves_the_others_alone(make: Any) -> None:
    service = Service(raw=[exceptions.Aborted("idle")])
    writer = make(service)
    writer.append({FRAMES: [an_entry()], TRADES: [trades(1)]})
    assert service.opened == [path(FRAMES), path(TRADES), path(TRADES)]
    assert len(service.appended) == 2


@pytest.mark.parametrize(
    "error",
    [
        exceptions.InvalidArgument("the schema differs"),
        exceptions.PermissionDenied("no"),
        exceptions.NotFound("no such table"),
        exceptions.ResourceExhausted("quota"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_anything_else_stops(make: Any, waits: list[float], error: Exception) -> None:
    service = Service(raw=[error])
    with pytest.raises(type(error)):
        make(service).append({TRADES: [trades(1)]})
    assert (service.requests, waits) == (1, [])


def test_answers_that_nobody_waited_for_are_not_taken_for_later_ones(make: Any) -> None:
    service = Service(raw=[exceptions.NotFound("no such table")])
    writer = make(service)
    with pytest.raises(exceptions.NotFound):
        writer.append({TRADES: [trades(1), trades(2)], FRAMES: [an_entry()]})
    writer.discard()
    writer.append({FRAMES: [an_entry()], TRADES: [trades(3)]})
    assert service.opened == [path(TRADES), path(FRAMES), path(FRAMES), path(TRADES)]
    assert service.ids() == [3]


def test_what_is_discarded_is_not_appended(make: Any) -> None:
    service = Service()
    writer = make(service)
    writer.send({TRADES: [trades(1)]})
    writer.discard()
    writer.append({TRADES: [trades(2)]})
    assert service.closed == [path(TRADES)]
    assert service.ids() == [2]


def test_gives_up_after_some_attempts(make: Any, waits: list[float]) -> None:
    service = Service(raw=[exceptions.ServiceUnavailable("away")] * 100)
    writer = make(service)
    with pytest.raises(exceptions.ServiceUnavailable):
        writer.append({TRADES: [trades(1)]})
    assert service.requests == ATTEMPTS
    assert len(waits) == ATTEMPTS - 1
    assert waits == sorted(waits)
    assert max(waits) <= 10


def test_what_is_too_large_goes_in_parts(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_write, "MAX_APPEND_BYTES", 2000)
    service = Service()
    make(service).append({TRADES: [trades(*range(50)), trades(*range(50, 60))]})
    assert len(service.appended) > 3
    assert service.ids() == list(range(60))


class TestSplitBatch:
    @given(st.lists(st.binary(max_size=300), max_size=60), st.integers(1, 1000))
    def test_order_and_size(self, values: list[bytes], limit: int) -> None:
        batch = pa.RecordBatch.from_pydict({"payload": pa.array(values, pa.binary())})
        parts = list(split_batch(batch, limit))
        assert [v for part in parts for v in part.column(0).to_pylist()] == values
        assert all(part.num_rows == 1 or part.nbytes <= limit for part in parts if values)

    def test_large_rows_beside_each_other_are_parted(self) -> None:
        values = [b"x" * 1000] * 15 + [b""] * 85
        batch = pa.RecordBatch.from_pydict({"payload": pa.array(values, pa.binary())})
        sizes = [len(part.serialize()) for part in split_batch(batch, 8000)]
        assert max(sizes) < 10_000

    def test_a_small_batch_stays_whole(self) -> None:
        batch = trades(1, 2)
        assert list(split_batch(batch, 10**6)) == [batch]
