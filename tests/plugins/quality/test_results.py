from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from market_data.tables import QUALITY_RESULTS
from plugins.market_ops.quality import check
from plugins.market_ops.quality.check import judge
from plugins.market_ops.quality.results import (
    Check,
    QualityFailed,
    Result,
    linked,
    observed,
    text,
    verdicts,
)
from plugins.market_ops.quality.suites import completeness
from plugins.market_ops.quality.window import Window

END = datetime(2026, 3, 2, tzinfo=UTC)
CHECK = Check("run-1", Window(END - timedelta(days=1), END, END), END)
SUITE = completeness(CHECK.window, timedelta(hours=1))
HAS_ROWS, COMPLETE, *_ = SUITE.expectations


def result(expectation: Any, is_success: bool, found: str = "0 of 3 rows") -> Result:
    return CHECK.result(SUITE, expectation, is_success=is_success, observed=found)


def test_a_result_is_a_row_of_the_table() -> None:
    assert list(Result.__annotations__) == [column.name for column in QUALITY_RESULTS.columns]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("0.000000010"), "0.00000001"),
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("100.000000000"), "100"),
        (Decimal("100"), "100"),
        (Decimal("-0.5"), "-0.5"),
        (datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=1))), "2026-03-01 00:00:00Z"),
        (date(2026, 3, 1), "2026-03-01"),
        (None, "nothing"),
        ("BTCUSDT", "BTCUSDT"),
        (7, "7"),
    ],
)
def test_text_is_exact(value: Any, expected: str) -> None:
    assert text(value) == expected


def test_observed_rows_are_named() -> None:
    row = {"market": "spot", "symbol": "BTCUSDT", "price": Decimal("1E-8")}
    found = {"unexpected_count": 4, "element_count": 9, "partial_unexpected_index_list": [row] * 4}
    one = "spot BTCUSDT price 0.00000001"
    assert observed(found, ("market", "symbol")) == f"4 of 9 rows: {one}; {one}; {one}"


def test_observed_values() -> None:
    problems = [{"problem": "c lacks 3 to 4"}]
    found = {"observed_value": 1, "details": {"unexpected_rows": problems}}
    assert observed(found, ()) == "1 found: c lacks 3 to 4"
    assert observed({"observed_value": END}, ()) == "2026-03-02 00:00:00Z"
    assert observed({"observed_value": None}, ()) == "nothing"


def test_observed_of_an_empty_window() -> None:
    assert observed({"unexpected_count": None, "element_count": 0}, ()) == "0 of 0 rows"


def test_verdicts_and_who_fails() -> None:
    found = [result(HAS_ROWS, False, "0"), result(COMPLETE, True)]
    (verdict,) = verdicts(linked(found, {SUITE.name: "http://page"}))
    assert verdict["passed"] == 1
    assert verdict["link"] == "http://page"
    assert verdict["failed"] == []
    assert verdict["warned"][0].startswith("completeness.has_rows: expected 1 row, observed 0.")
    judge(verdict)


def test_people_are_told_of_news_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(check, "notify", lambda subject, body: told.append(subject))
    found = [result(COMPLETE, False, "1 of 3 rows: BTCUSDT")]
    for known in (set(), {("completeness", "no_conflicts")}, {("completeness", COMPLETE.name)}):
        (verdict,) = verdicts(found, known)
        with pytest.raises(QualityFailed):
            judge(verdict)
    assert told == ["check_quality: completeness fails"] * 2
    (verdict,) = verdicts(found, {("completeness", COMPLETE.name)})
    with pytest.raises(QualityFailed, match=r"observed 1 of 3 rows: BTCUSDT.*repair_gaps"):
        judge(verdict)


def test_missing_tables_fail() -> None:
    missing = CHECK.missing(SUITE, ["marts.a", "marts.b"])
    assert (missing.severity, missing.observed) == ("fail", "missing: marts.a, marts.b")
    assert not missing.is_success


def test_an_error_is_no_observation() -> None:
    assert not result(COMPLETE, False, "not computed: timed out").is_computed
    assert result(COMPLETE, False, "1 of 3 rows").is_computed
