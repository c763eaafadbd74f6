"""dbt's sources: `dbt/models/staging/_sources.yml`, generated from the tables.

`python -m market_data.tables --write` writes the document; a test fails when the checked-in file
differs from it. Written as text, with JSON strings (which are YAML strings), so that it is the
same bytes everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from market_data.tables import (
    DATASETS,
    FRAMES,
    QUALITY_RESULTS,
    SYMBOLS,
    TABLES,
    TRADES,
    Column,
    Table,
)

SOURCES_PATH: Final = Path(__file__).parent.parent / "dbt" / "models" / "staging" / "_sources.yml"

SOURCES: Final = tuple(table for table in TABLES if table != QUALITY_RESULTS)
"""Tables that dbt reads; what checks record is written after the marts."""

_LOADED_AT: Final = "loaded_at"
_WARN_AFTER_MINUTES: Final = 5
_ERROR_AFTER_MINUTES: Final = 15
_LEDGERS: Final = (TRADES, FRAMES)
"""Tables whose silence is an outage; the others depend on which channels are subscribed.

SYMBOLS is no matter of freshness: it is silent while the exchange changes nothing.
"""

_HEADER: Final = """\
# Generated from market_data/records.py by `python -m market_data.tables --write`; do not edit.
version: 2

sources:
"""


def sources_document() -> str:
    """Return the text of dbt's sources file: every table with its columns and freshness."""
    lines = (line for dataset in DATASETS for line in _source_lines(dataset))
    return _HEADER + "\n".join(lines) + "\n"


def _source_lines(dataset: str) -> Iterator[str]:
    tables = [table for table in SOURCES if table.dataset == dataset]
    if not tables:
        return
    yield f"  - name: {dataset}"
    yield f"    schema: {dataset}"
    yield "    tables:"
    for table in tables:
        yield from _table_lines(table)


def _table_lines(table: Table) -> Iterator[str]:
    yield f"      - name: {table.name}"
    yield f"        description: {json.dumps(table.description, ensure_ascii=False)}"
    if table != SYMBOLS and any(column.name == _LOADED_AT for column in table.columns):
        yield from _freshness_lines(table)
    yield "        columns:"
    for column in table.columns:
        yield from _column_lines(column)


def _freshness_lines(table: Table) -> Iterator[str]:
    yield "        config:"
    yield f"          {_LOADED_AT}_field: {_LOADED_AT}"
    yield "          freshness:"
    yield f"            warn_after: {{count: {_WARN_AFTER_MINUTES}, period: minute}}"
    if table in _LEDGERS:
        yield f"            error_after: {{count: {_ERROR_AFTER_MINUTES}, period: minute}}"
    # Without it BigQuery would read the column of every partition there ever was.
    pruned = f"{table.partition_column} >= timestamp_sub(current_timestamp(), interval 2 day)"
    yield f"            filter: {json.dumps(pruned)}"


def _column_lines(column: Column) -> Iterator[str]:
    yield f"          - name: {column.name}"
    yield f"            description: {json.dumps(column.description, ensure_ascii=False)}"
    yield f"            data_type: {str(column.bigquery_field['type']).lower()}"
