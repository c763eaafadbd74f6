"""Tables: BigQuery and Arrow schemas generated from the records, with partitions and clusters.

`python -m market_data.tables --write` regenerates the checked-in `market_data/schemas/*.json` and
the sources of the dbt project; a test fails when they differ from the records.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import sys
import types
import typing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from market_data.numbers import NUMERIC_PRECISION, NUMERIC_SCALE
from market_data.records import (
    AggTrade,
    BookTicker,
    FrameEntry,
    FrameSymbol,
    HoleRecord,
    Kline,
    QualityResult,
    Rejection,
    Symbol,
    Trade,
)

SCHEMAS: Final = Path(__file__).parent / "schemas"

_BIGQUERY_TYPES: Final[dict[type, str]] = {
    str: "STRING",
    int: "INT64",
    bool: "BOOL",
    bytes: "BYTES",
    Decimal: "NUMERIC",
    datetime: "TIMESTAMP",
}
_ARROW_TYPES: Final[dict[type, pa.DataType]] = {
    str: pa.string(),
    int: pa.int64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    Decimal: pa.decimal128(NUMERIC_PRECISION, NUMERIC_SCALE),
    datetime: pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """One BigQuery table: where it lies, what a row is, how it is cut.

    Attributes:
        dataset: BigQuery dataset.
        name: table name in the dataset.
        record: the record class that a row is made of.
        partition_column: TIMESTAMP column of the daily partitions.
        cluster_columns: clustering columns, in order.
        requires_filter: BigQuery refuses queries that name no partitions; for large tables.
    """

    dataset: str
    name: str
    record: type
    partition_column: str
    cluster_columns: tuple[str, ...]
    requires_filter: bool = False

    @property
    def full_name(self) -> str:
        """`dataset.name`."""
        return f"{self.dataset}.{self.name}"

    @property
    def description(self) -> str:
        """The first line of the record's docstring."""
        return (self.record.__doc__ or "").strip().splitlines()[0]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in table order."""
        return columns_of(self.record)

    @property
    def arrow_schema(self) -> pa.Schema:
        """The schema of the Arrow batches that are appended to the table."""
        return _arrow_schema(self)

    @property
    def bigquery_schema(self) -> list[dict[str, Any]]:
        """The schema in BigQuery's JSON form."""
        return [column.bigquery_field for column in self.columns]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, read off an annotated field of a record."""

    name: str
    type: type
    mode: str
    description: str

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type of the column's values."""
        return _ARROW_TYPES[self.type]

    @property
    def bigquery_field(self) -> dict[str, Any]:
        """The column in BigQuery's JSON form."""
        return {
            "name": self.name,
            "type": _BIGQUERY_TYPES[self.type],
            "mode": self.mode,
            "description": self.description,
        }


@functools.cache
def _arrow_schema(table: Table) -> pa.Schema:
    return pa.schema([(column.name, column.arrow_type) for column in table.columns])


def columns_of(record: type) -> tuple[Column, ...]:
    """Return the columns of a record class: its own fields first, the inherited ones last."""
    hints = typing.get_type_hints(record, include_extras=True)
    own = list(inspect.get_annotations(record))
    inherited = [field.name for field in dataclasses.fields(record) if field.name not in own]
    return tuple(_column(name, hints[name]) for name in (*own, *inherited))


def _column(name: str, hint: Any) -> Column:
    annotated, description = typing.get_args(hint)
    mode = "REQUIRED"
    if typing.get_origin(annotated) is types.UnionType:
        annotated, mode = typing.get_args(annotated)[0], "NULLABLE"
    return Column(name, annotated, mode, description)


TRADES: Final = Table("raw", "trades", Trade, "traded_at", ("market", "symbol", "trade_id"), True)
AGG_TRADES: Final = Table(
    "raw", "agg_trades", AggTrade, "traded_at", ("market", "symbol", "agg_trade_id"), True
)
KLINES: Final = Table(
    "raw", "klines", Kline, "opened_at", ("market", "symbol", "kline_interval", "opened_at"), True
)
BOOK_TICKERS: Final = Table(
    "raw", "book_tickers", BookTicker, "received_at", ("market", "symbol", "update_id"), True
)
SYMBOLS: Final = Table("raw", "symbols", Symbol, "received_at", ("market", "symbol"))
REJECTIONS: Final = Table("raw", "rejections", Rejection, "rejected_at", ("reason", "symbol"))
FRAMES: Final = Table("ops", "frames", FrameEntry, "loaded_at", ("collector", "epoch", "sequence"))
FRAME_SYMBOLS: Final = Table(
    "ops", "frame_symbols", FrameSymbol, "loaded_at", ("market", "channel", "symbol")
)
QUALITY_RESULTS: Final = Table(
    "ops", "quality_results", QualityResult, "checked_at", ("suite", "expectation")
)
HOLES: Final = Table("ops", "holes", HoleRecord, "found_at", ("market", "symbol"))

TABLES: Final = (
    *(TRADES, AGG_TRADES, KLINES, BOOK_TICKERS, SYMBOLS, REJECTIONS),
    *(FRAMES, FRAME_SYMBOLS, QUALITY_RESULTS, HOLES),
)
TABLE_OF_CHANNEL: Final[dict[str, Table]] = {
    "trade": TRADES,
    "aggTrade": AGG_TRADES,
    "kline": KLINES,
    "bookTicker": BOOK_TICKERS,
    "exchangeInfo": SYMBOLS,
    "hole": HOLES,
}
DATASETS: Final = ("raw", "staging", "intermediate", "marts", "ops")


def schema_document(table: Table) -> str:
    """Return the text of a table's checked-in schema file."""
    document = {
        "dataset": table.dataset,
        "table": table.name,
        "description": table.description,
        "time_partitioning": {"type": "DAY", "field": table.partition_column},
        "require_partition_filter": table.requires_filter,
        "clustering": list(table.cluster_columns),
        "schema": table.bigquery_schema,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def schema_path(table: Table) -> Path:
    """Return the path of a table's checked-in schema file."""
    return SCHEMAS / f"{table.full_name}.json"


def documents() -> dict[Path, str]:
    """Return the text of every generated file by its path."""
    from market_data.dbt_sources import SOURCES_PATH, sources_document  # it imports this module

    files = {schema_path(table): schema_document(table) for table in TABLES}
    return files | {SOURCES_PATH: sources_document()}


def main(arguments: list[str]) -> int:
    """Write the generated files (`--write`) or report which differ (the default)."""
    is_writing = arguments == ["--write"]
    stale = {
        path: text
        for path, text in documents().items()
        if not path.exists() or path.read_text("utf-8") != text
    }
    for path, text in stale.items():
        if is_writing:
            path.write_text(text, "utf-8")
        print(f"{'wrote' if is_writing else 'differs:'} {path.name}")
    return 1 if stale and not is_writing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
