"""The days' completeness."""

# ruff: noqa: S608 - what is put into SQL are constants of this module and times

from __future__ import annotations

from datetime import timedelta

from ..truths import Expectation, Suite, has_rows, no_rows
from ..window import Window


def completeness(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of the days' completeness."""
    return Suite(
        name="completeness",
        table="marts.market_completeness",
        query=(
            "select market, symbol, traded_on, expected, present, missing, conflicts, verdict"
            f" from `marts`.`market_completeness` where {window.holds_date('traded_on')}"
        ),
        keys=("market", "symbol", "traded_on"),
        expectations=(
            has_rows("days of symbols", "Run build_marts, then check raw_trades."),
            Expectation(
                name="no_day_is_incomplete",
                kind="ExpectColumnValuesToNotBeInSet",
                severity="fail",
                threshold="verdict is not INCOMPLETE",
                meaning="Trade ids have no hole that the exchange sent trades for.",
                remedy="Run repair_gaps; it fetches the missing ids or proves them absent.",
                columns=("verdict",),
                arguments={"value_set": ["INCOMPLETE"]},
            ),
            Expectation(
                name="no_conflicts",
                kind="ExpectColumnValuesToBeBetween",
                severity="fail",
                threshold="conflicts = 0",
                meaning="No trade id arrived with two prices or two quantities.",
                remedy="Compare the copies in raw.trades by frame_id; the raw archive is right.",
                columns=("conflicts",),
                arguments={"min_value": 0, "max_value": 0},
            ),
            no_rows(
                "days_add_up",
                severity="fail",
                threshold="present + missing = expected",
                meaning="Ids that are there and ids that are not are all ids of the day.",
                remedy="Run build_marts with a full refresh; report the bug.",
                columns=("present", "missing", "expected"),
                sql="""
                select concat(symbol, ' ', cast(traded_on as string)) as problem
                from {batch} where present + missing != expected
                """,
            ),
        ),
    )
