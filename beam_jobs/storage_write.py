"""Appending Arrow batches with the BigQuery Storage Write API.

The default stream of each table is used: rows are visible as soon as the append is acknowledged.
It is at least once; ids make the repetition harmless.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import grpc
import pyarrow as pa
from google.api_core import exceptions
from google.cloud import bigquery_storage_v1
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcTransport,
)
from google.cloud.bigquery_storage_v1.writer import AppendRowsStream

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


class StorageWriter:
    """Appends batches to tables of one project, one open stream a table.

    Not thread-safe: each DoFn instance owns one.

    Args:
        project: project of the tables.
        sleep: waits between attempts.
    """

    def __init__(self, project: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._project = project
        self._sleep = sleep
        self._client = _client()
        self._streams: dict[str, AppendRowsStream] = {}

    def append(self, table: Table, batches: Sequence[pa.RecordBatch]) -> None:
        """Append batches of a table and return when BigQuery has acknowledged them.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: BigQuery refused them, or was away for
                all attempts.
        """
        rows = pa.Table.from_batches(batches, table.arrow_schema).combine_chunks()
        for batch in rows.to_batches():
            for part in split_batch(batch, MAX_APPEND_BYTES):
                self._append(table, part)

    def close(self) -> None:
        """Close the streams and the channel."""
        for name in list(self._streams):
            self._drop(name)
        self._client.transport.close()

    def _append(self, table: Table, batch: pa.RecordBatch) -> None:
        name = (
            f"projects/{self._project}/datasets/{table.dataset}/tables/{table.name}"
            "/streams/_default"
        )
        request = types.AppendRowsRequest(
            write_stream=name,
            arrow_rows=types.AppendRowsRequest.ArrowData(
                rows=types.ArrowRecordBatch(serialized_record_batch=batch.serialize().to_pybytes())
            ),
        )
        for attempt, wait in enumerate(_waits(), start=1):
            try:
                stream = self._stream(name, table)
                stream.send(request).result(timeout=APPEND_SECONDS)
                return
            except _TRANSIENT as error:
                self._drop(name)
                if attempt == ATTEMPTS:
                    raise
                log.warning("append to %s, attempt %d: %s", table.full_name, attempt, error)
                self._sleep(wait)

    def _stream(self, name: str, table: Table) -> AppendRowsStream:
        if name not in self._streams:
            template = types.AppendRowsRequest(
                write_stream=name,
                arrow_rows=types.AppendRowsRequest.ArrowData(
                    writer_schema=types.ArrowSchema(
                        serialized_schema=table.arrow_schema.serialize().to_pybytes()
                    )
                ),
            )
            self._streams[name] = AppendRowsStream(self._client, template)
        return self._streams[name]

    def _drop(self, name: str) -> None:
        stream = self._streams.pop(name, None)
        if stream is not None and stream.is_active:
            stream.close()


def split_batch(batch: pa.RecordBatch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield slices of a batch whose buffers are about `max_bytes` at most; a row stays whole."""
    if batch.num_rows <= 1 or batch.get_total_buffer_size() <= max_bytes:
        yield batch
        return
    pieces = -(-batch.get_total_buffer_size() // max_bytes)
    length = max(1, batch.num_rows // pieces)
    for start in range(0, batch.num_rows, length):
        yield batch.slice(start, length)


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
