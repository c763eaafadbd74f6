"""Queries against the sandbox's BigQuery through the ordinary client."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

SECONDS: Final = 60.0


class Warehouse:
    """A client of one project; use it as a context manager.

    Args:
        project: project of the tables.
        url: address of BigQuery's REST interface.
    """

    def __init__(self, project: str, url: str) -> None:
        self.project = project
        self._client = bigquery.Client(
            project=project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=url),
        )

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query; `{project}` in it becomes the project's id."""
        found = self._client.query_and_wait(
            sql.replace("{project}", self.project), wait_timeout=SECONDS, retry=None, job_retry=None
        )
        return [dict(row) for row in found]

    def __enter__(self) -> Self:
        """Return the warehouse."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        self._client.close()
