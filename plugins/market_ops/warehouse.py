"""Asks BigQuery, with a time limit and without a second try, and appends rows to a table.

Google's client repeats what failed for up to ten minutes on its own; here the task is what is
repeated.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from google.cloud import bigquery

SECONDS: Final = 60.0
# A datetime is a date too; the first that fits counts.
_TYPES: Final = (
    (datetime, "TIMESTAMP"),
    (date, "DATE"),
    (int, "INT64"),
    (str, "STRING"),
    (Decimal, "NUMERIC"),
)


def ask(
    client: bigquery.Client,
    sql: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    seconds: float = SECONDS,
) -> list[dict[str, Any]]:
    """Return a statement's rows.

    Args:
        client: client of the project that `{project}` in the statement stands for.
        sql: the statement; parameters stand in it as `@name`.
        parameters: times, days, numbers, texts and lists of texts by name; None is a NUMERIC null.
        seconds: limit.

    Raises:
        google.api_core.exceptions.GoogleAPICallError: BigQuery refuses it.
        concurrent.futures.TimeoutError: it takes longer.
    """
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ArrayQueryParameter(name, "STRING", value)
            if isinstance(value, list)
            else bigquery.ScalarQueryParameter(name, _type(value), value)
            for name, value in (parameters or {}).items()
        ]
    )
    found = client.query_and_wait(
        sql.replace("{project}", client.project),
        job_config=config,
        api_timeout=seconds,
        wait_timeout=seconds,
        retry=None,
        job_retry=None,
    )
    return [dict(row) for row in found]


def ask_if_there(
    client: bigquery.Client,
    sql: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    seconds: float = SECONDS,
) -> list[dict[str, Any]]:
    """Return a statement's rows as `ask`; none when a table or dataset does not exist yet."""
    from google.api_core.exceptions import NotFound

    try:
        return ask(client, sql, parameters, seconds=seconds)
    except NotFound:
        return []


def append(
    client: bigquery.Client,
    table: str,
    rows: Iterable[Mapping[str, Any]],
    text: Callable[[Any], str] = datetime.isoformat,
) -> None:
    """Append rows to a table: one load job, so all rows or none.

    Args:
        client: of the project with the table.
        table: dataset and table.
        rows: values by column.
        text: makes JSON's texts of what JSON does not know.

    Raises:
        google.api_core.exceptions.GoogleAPIError: the table is missing or refuses them.
    """
    from google.cloud.bigquery import LoadJobConfig, SourceFormat, WriteDisposition

    lines = "".join(json.dumps(row, default=text) + "\n" for row in rows)
    found = client.get_table(f"{client.project}.{table}", timeout=SECONDS, retry=None)
    job = client.load_table_from_file(
        io.BytesIO(lines.encode()),
        found.reference,
        job_config=LoadJobConfig(
            schema=found.schema,
            source_format=SourceFormat.NEWLINE_DELIMITED_JSON,
            write_disposition=WriteDisposition.WRITE_APPEND,
        ),
        timeout=SECONDS,
    )
    job.result(timeout=SECONDS, retry=None)


def _type(value: object) -> str:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "NUMERIC")
