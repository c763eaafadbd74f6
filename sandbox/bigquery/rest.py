"""Asks the sandbox's BigQuery a question: a few lines of REST instead of the client's imports.

For the terminal view, which asks every second and must stay small. Source of the format: BigQuery
REST reference, `jobs.query` and `QueryResponse`. Values stay text, as BigQuery sends them.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

from sandbox.probes import post_json

Row = dict[str, str | None]


class QueryError(Exception):
    """BigQuery refused a query or did not answer."""


def query(base_url: str, project: str, sql: str, *, timeout: float = 20.0) -> list[Row]:
    """Run a GoogleSQL query and return its rows of scalar columns.

    Args:
        base_url: of BigQuery's REST, as in `http://127.0.0.1:9050`.
        project: project that runs the job.
        sql: one statement.
        timeout: seconds to wait for an answer.

    Raises:
        QueryError: it was refused, or nobody answers.
    """
    url = f"{base_url}/bigquery/v2/projects/{project}/queries"
    request = {"query": sql, "useLegacySql": False, "timeoutMs": int(timeout * 1000)}
    try:
        status, body = post_json(url, request, timeout=timeout)
        document = json.loads(body)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise QueryError(f"{url}: {error}") from error
    if status != 200:
        message = document.get("error", {}).get("message", document)
        raise QueryError(f"{url}: HTTP {status}: {message}")
    if errors := document.get("errors"):  # the emulator's way of refusing
        raise QueryError(f"{url}: {errors[0].get('message', errors)}")
    if not document.get("jobComplete"):
        raise QueryError(f"{url}: no answer within {timeout:.0f} s")
    return rows_of(document)


def rows_of(document: dict[str, Any]) -> list[Row]:
    """Return the rows of a `QueryResponse` by column name."""
    names = [field["name"] for field in document.get("schema", {}).get("fields", ())]
    return [
        dict(zip(names, (cell["v"] for cell in row["f"]), strict=True))
        for row in document.get("rows", ())
    ]
