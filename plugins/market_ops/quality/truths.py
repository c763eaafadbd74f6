"""Truths: the pieces that suites are described with. A description costs nothing to import.

`runner` makes Great Expectations' own expectations of it; `kind` is the name of one. Bounds are
counts, times and 0, never prices: Great Expectations sends numbers as floating point, which cannot
change a sign. All other comparisons of prices are made by BigQuery, in NUMERIC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

Severity = Literal["fail", "warn"]
# Arguments of pairs: those with a null on either side are left out.
PAIR_NULLS: Final[Mapping[str, Any]] = {"ignore_row_if": "neither"}


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One truth.

    Attributes:
        name: unique in its suite.
        kind: class of Great Expectations.
        severity: fail stops what depends on the data, warn is recorded.
        threshold: what the observed value is held against, for people.
        meaning: a sentence that says what is true of good data, and why it matters.
        remedy: a sentence that says what to do when it is not.
        columns: columns that it is about.
        arguments: of `kind`.
    """

    name: str
    kind: str
    severity: Severity
    threshold: str
    meaning: str
    remedy: str
    columns: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Truths of one batch of rows.

    Attributes:
        name: unique.
        table: dataset and table that it is about.
        query: SQL of the batch.
        keys: columns that name a row, for examples.
        expectations: what must be true.
        others: further tables that are read.
    """

    name: str
    table: str
    query: str
    keys: tuple[str, ...]
    expectations: tuple[Expectation, ...]
    others: tuple[str, ...] = ()


def has_rows(things: str, remedy: str) -> Expectation:
    """There is something to look at."""
    return Expectation(
        name="has_rows",
        kind="ExpectTableRowCountToBeBetween",
        severity="warn",
        threshold="1 row",
        meaning=f"There are {things} in the window; without any, all else is true of nothing.",
        remedy=remedy,
        arguments={"min_value": 1},
    )


def is_fresh(column: str, since: datetime, things: str) -> Expectation:
    """The newest row is not older than `since`."""
    return Expectation(
        name="is_fresh",
        kind="ExpectColumnMaxToBeBetween",
        severity="warn",
        threshold=f"since {since:%Y-%m-%d %H:%M:%S}Z",
        meaning=f"The newest {things} are not older than the setting stale_after_seconds allows.",
        remedy="watch_stream names the stage that stands still.",
        columns=(column,),
        arguments={"column": column, "min_value": since},
    )


def above_zero(column: str, remedy: str) -> Expectation:
    """A price or quantity is above 0."""
    return Expectation(
        name=f"{column}_is_positive",
        kind="ExpectColumnValuesToBeBetween",
        severity="fail",
        threshold=f"{column} > 0",
        meaning=f"Nothing is traded at a {column} of 0 or below.",
        remedy=remedy,
        columns=(column,),
        arguments={"min_value": 0, "strict_min": True},
    )


def not_negative(column: str, remedy: str) -> Expectation:
    """An amount is not below 0."""
    return Expectation(
        name=f"{column}_is_not_negative",
        kind="ExpectColumnValuesToBeBetween",
        severity="fail",
        threshold=f"{column} >= 0",
        meaning=f"Amounts such as {column} have no sign.",
        remedy=remedy,
        columns=(column,),
        arguments={"min_value": 0},
    )


def at_least(larger: str, smaller: str, meaning: str, remedy: str) -> Expectation:
    """One column is not below another one."""
    return Expectation(
        name=f"{smaller}_up_to_{larger}",
        kind="ExpectColumnPairValuesAToBeGreaterThanB",
        severity="fail",
        threshold=f"{smaller} <= {larger}",
        meaning=meaning,
        remedy=remedy,
        columns=(larger, smaller),
        arguments={"or_equal": True, **PAIR_NULLS},
    )


def unique(*columns: str) -> Expectation:
    """The columns name a row."""
    return Expectation(
        name="is_unique",
        kind="ExpectCompoundColumnsToBeUnique",
        severity="fail",
        threshold=f"one row per {', '.join(columns)}",
        meaning="Nothing is there twice: de-duplication and merging keep the grain.",
        remedy="Two builds overlapped: run build_marts with a full refresh, alone.",
        columns=columns,
    )


def no_rows(
    name: str,
    *,
    severity: Severity,
    threshold: str,
    meaning: str,
    remedy: str,
    columns: tuple[str, ...],
    sql: str,
) -> Expectation:
    """Return an expectation by SQL, whose rows have one text column, `problem`."""
    return Expectation(
        name=name,
        kind="UnexpectedRowsExpectation",
        severity=severity,
        threshold=threshold,
        meaning=meaning,
        remedy=remedy,
        columns=columns,
        arguments={"unexpected_rows_query": " ".join(sql.split())},
    )
