import queue
from collections.abc import Iterator
from typing import Any, Self

import pytest
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import types

from beam_jobs.append_stream import AppendStream

NAME = "projects/p/datasets/raw/tables/trades/streams/_default"
SECONDS = 10.0
OK = 0


class Client:
    """Answers each request with the next code of the script, then ends the stream."""

    def __init__(self, *codes: int) -> None:
        self._codes = codes
        self.requests: list[types.AppendRowsRequest] = []
        self.metadata: list[Any] = []
        self.has_half_closed = False

    def append_rows(
        self, requests: Iterator[types.AppendRowsRequest], *, retry: None, metadata: Any
    ) -> Iterator[types.AppendRowsResponse]:
        self.metadata.append(metadata)
        return self._answers(requests)

    def _answers(
        self, requests: Iterator[types.AppendRowsRequest]
    ) -> Iterator[types.AppendRowsResponse]:
        for code in self._codes:
            request = next(requests, None)
            if request is None:
                self.has_half_closed = True
                return
            self.requests.append(request)
            yield types.AppendRowsResponse(error={"code": code, "message": f"code {code}"})


class SilentClient:
    """Never answers; the call ends when it is cancelled."""

    def __init__(self) -> None:
        self._ended: queue.SimpleQueue[None] = queue.SimpleQueue()

    def append_rows(self, requests: object, **_: object) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> None:
        self._ended.get(timeout=SECONDS)
        raise exceptions.Cancelled("Locally cancelled by application!")

    def cancel(self) -> None:
        self._ended.put(None)


def stream(client: Any) -> AppendStream:
    template = types.AppendRowsRequest(
        write_stream=NAME,
        arrow_rows=types.AppendRowsRequest.ArrowData(
            writer_schema=types.ArrowSchema(serialized_schema=b"schema")
        ),
    )
    return AppendStream(client, template)


def rows(number: int) -> types.AppendRowsRequest:
    data = types.ArrowRecordBatch(serialized_record_batch=b"%d" % number)
    return types.AppendRowsRequest(
        write_stream=NAME, arrow_rows=types.AppendRowsRequest.ArrowData(rows=data)
    )


def test_requests_go_in_order_and_the_first_has_the_schema() -> None:
    client = Client(OK, OK, OK)
    subject = stream(client)
    answers = [subject.send(rows(number)) for number in range(3)]
    for answer in answers:
        answer.result(SECONDS)
    sent = [request.arrow_rows for request in client.requests]
    assert [part.rows.serialized_record_batch for part in sent] == [b"0", b"1", b"2"]
    assert [part.writer_schema.serialized_schema for part in sent] == [b"schema", b"", b""]


def test_one_call_is_opened_and_routed_by_its_stream() -> None:
    client = Client(OK, OK)
    subject = stream(client)
    for number in range(2):
        subject.send(rows(number)).result(SECONDS)
    assert client.metadata == [(("x-goog-request-params", f"write_stream={NAME}"),)]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (3, exceptions.InvalidArgument),
        (5, exceptions.NotFound),
        (8, exceptions.ResourceExhausted),
        (10, exceptions.Aborted),
        (13, exceptions.InternalServerError),
        (14, exceptions.ServiceUnavailable),
    ],
)
def test_a_refusal_is_raised_by_its_own_answer(code: int, error: type[Exception]) -> None:
    subject = stream(Client(OK, code, OK))
    first, second, third = [subject.send(rows(number)) for number in range(3)]
    first.result(SECONDS)
    with pytest.raises(error, match=f"code {code}"):
        second.result(SECONDS)
    third.result(SECONDS)


def test_the_end_of_the_stream_may_pass() -> None:
    subject = stream(Client(OK))
    answers = [subject.send(rows(number)) for number in range(2)]
    answers[0].result(SECONDS)
    with pytest.raises(exceptions.Aborted, match="ended the stream"):
        answers[1].result(SECONDS)


def test_no_answer_in_time_cancels_the_call() -> None:
    answer = stream(SilentClient()).send(rows(1))
    with pytest.raises(exceptions.Cancelled):
        answer.result(0.01)


def test_closing_half_closes_the_call() -> None:
    client = Client(OK, OK)
    subject = stream(client)
    subject.send(rows(1)).result(SECONDS)
    subject.close()
    with pytest.raises(exceptions.Aborted):
        subject.receive(SECONDS)
    assert client.has_half_closed


def test_closing_what_was_never_opened() -> None:
    client = Client()
    stream(client).close()
    assert client.metadata == []
