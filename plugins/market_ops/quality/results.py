"""Results: what a check found, as rows of `ops.quality_results` and as verdicts of suites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from .. import warehouse
from .truths import Expectation, Severity, Suite
from .window import Window

if TYPE_CHECKING:
    from google.cloud import bigquery

TABLE: Final = "ops.quality_results"
NOT_COMPUTED: Final = "not computed: "
_EXAMPLES: Final = 3
_OBSERVED_LENGTH: Final = 1000


class QualityFailed(Exception):
    """A truth marked `fail` does not hold, or could not be looked at; names suite and remedy."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one expectation found: a row of `ops.quality_results`, where columns are explained."""

    run_id: str
    suite: str
    expectation: str
    table_name: str
    column_name: str
    severity: Severity
    is_success: bool
    observed: str
    threshold: str
    meaning: str
    remedy: str
    window_start: datetime
    window_end: datetime
    checked_at: datetime
    link: str

    @property
    def is_computed(self) -> bool:
        """False when the expectation raised an error, so that nothing is known."""
        return not self.observed.startswith(NOT_COMPUTED)


@dataclass(frozen=True)
class Check:
    """One check: every result of it has these."""

    run_id: str
    window: Window
    checked_at: datetime

    def result(
        self, suite: Suite, expectation: Expectation, *, is_success: bool, observed: str
    ) -> Result:
        """Return what an expectation found; its link is not known yet."""
        return Result(
            run_id=self.run_id,
            suite=suite.name,
            expectation=expectation.name,
            table_name=suite.table,
            column_name=", ".join(expectation.columns),
            severity=expectation.severity,
            is_success=is_success,
            observed=observed[:_OBSERVED_LENGTH],
            threshold=expectation.threshold,
            meaning=expectation.meaning,
            remedy=expectation.remedy,
            window_start=self.window.start,
            window_end=self.window.end,
            checked_at=self.checked_at,
            link="",
        )

    def missing(self, suite: Suite, tables: Iterable[str]) -> Result:
        """Return the only result of a suite whose tables are not all there."""
        names = ", ".join(tables)
        truth = Expectation(
            name="tables_exist",
            kind="",
            severity="fail",
            threshold="all tables",
            meaning="The tables that the suite reads exist.",
            remedy="Provisioning creates raw and ops, build_marts the others; run them.",
        )
        return self.result(suite, truth, is_success=False, observed=f"missing: {names}")


def linked(results: Iterable[Result], links: Mapping[str, str]) -> list[Result]:
    """Return the results with the address of their suite's page; empty where there is none."""
    return [replace(result, link=links.get(result.suite, "")) for result in results]


def observed(found: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Return what Great Expectations observed, as exact text with a few examples.

    Args:
        found: `result` of its validation result, as Python values.
        keys: columns that name a row.
    """
    if "observed_value" in found:
        rows = found.get("details", {}).get("unexpected_rows")
        if rows is None:
            return text(found["observed_value"])
        return _with_examples(f"{found['observed_value']} found", [r["problem"] for r in rows])
    counts = f"{found.get('unexpected_count') or 0} of {found.get('element_count') or 0} rows"
    examples = found.get("partial_unexpected_index_list") or [
        value for value in found.get("partial_unexpected_list", ()) if isinstance(value, Mapping)
    ]
    return _with_examples(counts, [_row_text(row, keys) for row in examples])


def _row_text(row: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    named = [text(row[key]) for key in keys if key in row]
    return " ".join(named + [f"{key} {text(row[key])}" for key in row if key not in keys])


def _with_examples(counts: str, examples: list[str]) -> str:
    return f"{counts}: {'; '.join(examples[:_EXAMPLES])}" if examples else counts


def text(value: Any) -> str:
    """Return a value as text: decimals exact and without an exponent, times in UTC."""
    if value is None:
        return "nothing"
    if isinstance(value, Decimal):
        plain = f"{value:f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(sep=" ").replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)


def verdicts(
    results: Iterable[Result], known: Set[tuple[str, str]] = frozenset()
) -> list[dict[str, Any]]:
    """Return one verdict a suite, as plain values that one task hands to the next.

    Each has `suite`, `link`, `passed` (a count), `warned` and `failed` (lines for people), and
    `is_news`: something failed that is not in `known`, suites and expectations that failed before.
    """
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        verdict = found.setdefault(
            result.suite,
            {"suite": result.suite, "link": result.link, "passed": 0, "warned": [], "failed": []}
            | {"is_news": False},
        )
        if result.is_success:
            verdict["passed"] += 1
            continue
        verdict[f"{result.severity}ed"].append(line(result))
        if result.severity == "fail" and (result.suite, result.expectation) not in known:
            verdict["is_news"] = True
    return list(found.values())


def line(result: Result) -> str:
    """Return one line for people: what was found and what to do."""
    return (
        f"{result.suite}.{result.expectation}: expected {result.threshold},"
        f" observed {result.observed}. {result.meaning} {result.remedy}"
    )


def failing(client: bigquery.Client, now: datetime) -> set[tuple[str, str]]:
    """Return the suites and expectations marked `fail` that failed when last looked at.

    Args:
        client: of the project with `ops.quality_results`.
        now: only checks of the day before it are looked at.
    """
    sql = f"""
    select suite, expectation from (
        select suite, expectation, severity, is_success
        from `{{project}}`.{TABLE}
        where checked_at >= @since and checked_at < @now
        qualify row_number() over (partition by suite, expectation order by checked_at desc) = 1
    ) as newest
    where severity = 'fail' and not is_success
    """  # noqa: S608 - names of ours
    rows = warehouse.ask(client, sql, {"since": now - timedelta(days=1), "now": now})
    return {(row["suite"], row["expectation"]) for row in rows}


def append(client: bigquery.Client, results: Iterable[Result]) -> None:
    """Append the results to `ops.quality_results`: one load job, so all rows or none.

    Raises:
        google.api_core.exceptions.GoogleAPIError: the table is missing or refuses them.
    """
    warehouse.append(client, TABLE, map(asdict, results), text)
