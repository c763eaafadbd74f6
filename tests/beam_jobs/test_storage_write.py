from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1.exceptions import StreamClosedError
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import storage_write
from beam_jobs.storage_write import ATTEMPTS, StorageWriter, split_batch
from market_data.tables import FRAMES, TRADES, Table
from tests.beam_jobs.samples import NOW, received, trade

PROJECT = "test-project"


class Answer:
    """A future that has ended."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def result(self, timeout: float) -> None:
        assert timeout == storage_write.APPEND_SECONDS
        if self._error is not None:
            raise self._error


class Service:
    """BigQuery at the seam: fails as the script says, then takes everything."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.appended: list[tuple[str, pa.RecordBatch]] = []
        self.requests = 0
        self.fails_when_sending = False

    def open_stream(self, _client: Any, template: Any) -> "Stream":
        self.opened.append(template.write_stream)
        schema = pa.ipc.read_schema(pa.py_buffer(template.arrow_rows.writer_schema.serialized_schema))
        return Stream(self, template.write_stream, schema)

    def next_error(self) -> Exception | None:
        self.requests += 1
        return self._errors.pop(0) if self._errors else None


class Stream:
    def __init__(self, service: Service, name: str, schema: pa.Schema) -> None:
        self._service, self._name, self._schema = service, name, schema

    def send(self, request: Any) -> Answer:
        assert request.write_stream == self._name
        error = self._service.next_error()
        if error is None:
            data = request.arrow_rows.rows.serialized_record_batch
            batch = pa.ipc.read_record_batch(pa.py_buffer(data), self._schema)
            self._service.appended.append((self._name, batch))
        elif self._service.fails_when_sending:
            raise error
        return Answer(error)

    def close(self) -> None:
        self._service.closed.append(self._name)
        raise StreamClosedError("Cannot close again when the connection is already closed.")


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
    from beam_jobs.frames import decode_received

    return decode_received(received(*[trade(number) for number in numbers]), NOW).rows


def path(table: Table) -> str:
    return f"projects/{PROJECT}/datasets/{table.dataset}/tables/{table.name}/streams/_default"


def test_batches_of_a_bundle_go_in_one_append(make: Any) -> None:
    service = Service()
    make(service).append(TRADES, [trades(1, 2), trades(3)])
    ((name, batch),) = service.appended
    assert name == path(TRADES)
    assert batch.schema == TRADES.arrow_schema
    assert batch.column("trade_id").to_pylist() == [1, 2, 3]


def test_a_table_has_one_stream(make: Any) -> None:
    service = Service()
    writer = make(service)
    for number in range(3):
        writer.append(TRADES, [trades(number)])
    writer.append(FRAMES, [pa.RecordBatch.from_pylist([], FRAMES.arrow_schema)])
    assert service.opened == [path(TRADES)]
    assert len(service.appended) == 3


@pytest.mark.parametrize(
    "error",
    [
        exceptions.Aborted("idle"),
        exceptions.DeadlineExceeded("slow"),
        exceptions.InternalServerError("oops"),
        exceptions.ServiceUnavailable("away"),
        exceptions.Unknown("There was a problem opening the stream."),
        exceptions.Cancelled("cut"),
        StreamClosedError("closed"),
        TimeoutError(),
        ConnectionError("reset"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("is_sending", [False, True])
def test_what_may_pass_is_repeated_on_a_new_stream(
    make: Any, waits: list[float], error: Exception, is_sending: bool
) -> None:
    service = Service(error, error)
    service.fails_when_sending = is_sending
    make(service).append(TRADES, [trades(1)])
    assert len(service.appended) == 1
    assert service.opened == [path(TRADES)] * 3
    assert service.closed == [path(TRADES)] * 2
    assert len(waits) == 2
    assert 0.1 <= waits[0] <= 0.2 <= waits[1] <= 0.4


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
    service = Service(error)
    with pytest.raises(type(error)):
        make(service).append(TRADES, [trades(1)])
    assert (service.requests, waits) == (1, [])


def test_gives_up_after_some_attempts(make: Any, waits: list[float]) -> None:
    service = Service(*[exceptions.ServiceUnavailable("away")] * 100)
    writer = make(service)
    with pytest.raises(exceptions.ServiceUnavailable):
        writer.append(TRADES, [trades(1)])
    assert service.requests == ATTEMPTS
    assert len(waits) == ATTEMPTS - 1
    assert waits == sorted(waits)
    assert max(waits) <= 10


def test_a_failure_of_one_table_leaves_the_others_open(make: Any) -> None:
    service = Service()
    writer = make(service)
    entry = pa.RecordBatch.from_arrays(
        [pa.nulls(1, field.type) for field in FRAMES.arrow_schema], schema=FRAMES.arrow_schema
    )
    writer.append(FRAMES, [entry])
    service._errors.append(exceptions.Aborted("idle"))
    writer.append(TRADES, [trades(1)])
    writer.append(FRAMES, [entry])
    assert service.opened == [path(FRAMES), path(TRADES), path(TRADES)]


def test_what_is_too_large_goes_in_parts(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_write, "MAX_APPEND_BYTES", 2000)
    service = Service()
    make(service).append(TRADES, [trades(*range(50)), trades(*range(50, 60))])
    assert len(service.appended) > 3
    ids = [i for _, batch in service.appended for i in batch.column("trade_id").to_pylist()]
    assert ids == list(range(60))


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
