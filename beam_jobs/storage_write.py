"""Appending Arrow batches with the BigQuery Storage Write API.

The default stream of each table is used: rows are visible as soon as the append is acknowledged.
It is at least once; ids make the repetition harmless.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import grpc
import pyarrow as pa
from google.api_core import exceptions
from google.cloud import bigquery_storage_v1
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcTransport,
)

from beam_jobs.append_stream import Answer, AppendStream
from market_data.tables import Table

log = logging.getLogger(__name__)

# Where the emulator listens; empty means BigQuery itself.
EMULATOR_VARIABLE: Final = "BIGQUERY_WRITE_EMULATOR_HOST"
# BigQuery takes 10 MB a request.
MAX_APPEND_BYTES: Final = 8 * 1024 * 1024
APPEND_SECONDS: Final = 60.0
ATTEMPTS: Final = 6

# Retry policy: these may pass, anything else (schema, permission, quota of a table) stops the job.
_TRANSIENT: Final = (
    exceptions.Aborted,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ServiceUnavailable,
    exceptions.Unknown,
    exceptions.Cancelled,
    TimeoutError,
    ConnectionError,
)


_Part = tuple[Table, pa.RecordBatch]


class StorageWriter:
    """Appends batches to tables of one project, one open stream a table.

    Not thread-safe: each DoFn instance owns one.

    Args:
        project: project of the tables.
        sleep: waits between attempts.
        open_stream: opens a stream with a client and the template of its requests.
    """

    def __init__(
        self,
        project: str,
        sleep: Callable[[float], None] = time.sleep,
        open_stream: Callable[[Any, Any], AppendStream] = AppendStream,
    ) -> None:
        self._project = project
        self._sleep = sleep
        self._open_stream = open_stream
        self._client = _client()
        self._streams: dict[Table, AppendStream] = {}
        self._sent: list[tuple[Table, pa.RecordBatch, Answer]] = []

    def append(self, rows: Mapping[Table, Sequence[pa.RecordBatch]]) -> None:
        """Append batches by table and return when BigQuery has acknowledged all of them.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: as `flush` does.
        """
        self.send(rows)
        self.flush()

    def send(self, rows: Mapping[Table, Sequence[pa.RecordBatch]]) -> None:
        """Send batches by table without waiting; `flush` must follow."""
        for table, batches in rows.items():
            whole = pa.Table.from_batches(batches, table.arrow_schema).combine_chunks()
            for batch in whole.to_batches():
                for part in split_batch(batch, MAX_APPEND_BYTES):
                    self._sent.append((table, part, self._send(table, part)))

    def flush(self) -> None:
        """Return when BigQuery has acknowledged everything sent; repeat what failed.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: BigQuery refused rows, or was away for
                all attempts.
        """
        for attempt, wait in enumerate(_waits(), start=1):
            failed, error = self._receive()
            if error is None:
                return
            if attempt == ATTEMPTS:
                raise error
            names = sorted({table.full_name for table, _ in failed})
            log.warning("append to %s, attempt %d: %s", ", ".join(names), attempt, error)
            self._sleep(wait)
            self._sent = [(table, part, self._send(table, part)) for table, part in failed]

    def discard(self) -> None:
        """Forget what was sent and not acknowledged; its bundle has failed and comes again."""
        for table in {table for table, _, _ in self._sent}:
            self._drop(table)
        self._sent = []

    def close(self) -> None:
        """Close the streams and the channel."""
        for table in list(self._streams):
            self._drop(table)
        self._client.transport.close()

    def _send(self, table: Table, batch: pa.RecordBatch) -> Answer:
        return self._stream(table).send(_request(self._path(table), batch))

    def _receive(self) -> tuple[list[_Part], Exception | None]:
        """Wait for all answers; return the parts that failed and why the first of them did.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: a failure that would come again.
        """
        sent, self._sent = self._sent, []
        failed: list[_Part] = []
        first_error: Exception | None = None
        for table, part, answer in sent:
            if any(table == other for other, _ in failed):
                failed.append((table, part))  # its stream is gone
                continue
            try:
                answer.result(timeout=APPEND_SECONDS)
            except _TRANSIENT as error:
                self._drop(table)
                failed.append((table, part))
                first_error = first_error or error
            except Exception:
                for other in {other for other, _, _ in sent}:
                    self._drop(other)  # or its unread answers are taken for those of later rows
                raise
        return failed, first_error

    def _path(self, table: Table) -> str:
        return (
            f"projects/{self._project}/datasets/{table.dataset}/tables/{table.name}"
            "/streams/_default"
        )

    def _stream(self, table: Table) -> AppendStream:
        if table not in self._streams:
            template = types.AppendRowsRequest(
                write_stream=self._path(table),
                arrow_rows=types.AppendRowsRequest.ArrowData(
                    writer_schema=types.ArrowSchema(
                        serialized_schema=table.arrow_schema.serialize().to_pybytes()
                    )
                ),
            )
            self._streams[table] = self._open_stream(self._client, template)
        return self._streams[table]

    def _drop(self, table: Table) -> None:
        stream = self._streams.pop(table, None)
        if stream is not None:
            stream.close()


def _request(path: str, batch: pa.RecordBatch) -> types.AppendRowsRequest:
    """Return the request of one batch; set on the plain message, which copies the rows once."""
    request = types.AppendRowsRequest(write_stream=path)
    plain = types.AppendRowsRequest.pb(request)
    plain.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
    return request


def split_batch(batch: pa.RecordBatch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield slices of a batch of `max_bytes` at most, in order; a row stays whole."""
    if batch.num_rows <= 1 or batch.nbytes <= max_bytes:
        yield batch
        return
    half = batch.num_rows // 2
    yield from split_batch(batch.slice(0, half), max_bytes)
    yield from split_batch(batch.slice(half), max_bytes)


def _waits() -> Iterator[float]:
    chance = random.SystemRandom()
    for attempt in range(ATTEMPTS):
        yield min(0.2 * 2**attempt, 10.0) * (0.5 + chance.random() / 2)


def _client() -> Any:
    address = os.environ.get(EMULATOR_VARIABLE)
    if not address:
        return bigquery_storage_v1.BigQueryWriteClient()
    channel = grpc.insecure_channel(
        address, options=[("grpc.max_send_message_length", 2 * MAX_APPEND_BYTES)]
    )
    return bigquery_storage_v1.BigQueryWriteClient(
        transport=BigQueryWriteGrpcTransport(channel=channel)
    )
