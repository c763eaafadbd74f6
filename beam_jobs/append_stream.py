"""One AppendRows stream of the Storage Write API, driven by the thread that appends.

The client library's own `AppendRowsStream` answers through futures that look whether they are done
about once a second; a row would wait for that longer than for everything else. Here the appending
thread reads the answers itself, in the order of its requests.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import types


class AppendStream:
    """A stream to one table; opened by the first answer that is waited for.

    Not thread-safe: requests and answers are matched by their order.

    Args:
        client: a BigQueryWriteClient.
        template: write stream and writer schema, which the first request must carry.
    """

    def __init__(self, client: Any, template: types.AppendRowsRequest) -> None:
        self._client = client
        self._template = template
        self._is_first = True
        self._requests: queue.SimpleQueue[types.AppendRowsRequest | None] = queue.SimpleQueue()
        self._answers: Iterator[types.AppendRowsResponse] | None = None

    def send(self, request: types.AppendRowsRequest) -> Answer:
        """Send rows; the answer must be waited for before the answer to any later request."""
        if self._is_first:
            request.arrow_rows.writer_schema = self._template.arrow_rows.writer_schema
            self._is_first = False
        self._requests.put(request)
        return Answer(self)

    def receive(self, timeout: float) -> None:
        """Wait for the next answer.

        Args:
            timeout: seconds, after which the stream is given up.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: BigQuery refused the rows, the stream
                broke, or (Cancelled) no answer came in time.
        """
        guard = threading.Timer(timeout, self._cancel)
        guard.start()
        try:
            if self._answers is None:
                self._answers = self._open()
            response = next(self._answers)
        except StopIteration:
            raise exceptions.Aborted("BigQuery has ended the stream") from None
        finally:
            guard.cancel()
        if response.error.code:
            raise exceptions.from_grpc_status(response.error.code, response.error.message)

    def close(self) -> None:
        """End the stream; answers that are still to come are lost."""
        self._requests.put(None)
        self._cancel()

    def _open(self) -> Iterator[types.AppendRowsResponse]:
        """Open the stream; returns when the first answer has come."""
        header = ("x-goog-request-params", f"write_stream={self._template.write_stream}")
        answers: Iterator[types.AppendRowsResponse] = self._client.append_rows(
            iter(self._requests.get, None), retry=None, metadata=(header,)
        )
        return answers

    def _cancel(self) -> None:
        cancel = getattr(self._answers, "cancel", None)
        if cancel is not None:
            cancel()
        self._requests.put(None)  # half-close, in case the stream is just being opened


class Answer:
    """The answer to one request, still to be waited for."""

    def __init__(self, stream: AppendStream) -> None:
        self._stream = stream

    def result(self, timeout: float) -> None:
        """Wait for it; raises what `AppendStream.receive` raises."""
        self._stream.receive(timeout)
