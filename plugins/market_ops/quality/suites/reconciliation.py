"""Our candles beside Binance's."""

# ruff: noqa: S608 - what is put into SQL are constants of this module and times

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ..truths import Expectation, Suite, has_rows, no_rows
from ..window import Window

DIFFERENCE_CLASSES: Final = ("boundary", "exchange revised", "excluded from stream")


def reconciliation(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of our candles beside Binance's."""
    return Suite(
        name="reconciliation",
        table="marts.kline_reconciliation",
        query=(
            "select market, symbol, kline_interval, opened_at, is_equal, is_covered,"
            " difference_class from `marts`.`kline_reconciliation`"
            f" where {window.whole_days.holds('opened_at')}"
        ),
        keys=("market", "symbol", "kline_interval", "opened_at"),
        expectations=(
            has_rows("compared candles", "Does the collector subscribe to klines?"),
            Expectation(
                name="no_difference_is_ours",
                kind="ExpectColumnValuesToNotBeInSet",
                severity="fail",
                threshold="difference_class is not 'ours'",
                meaning="A candle that our trades cover equals Binance's, or there is a reason.",
                remedy="dbt's test candles_differ_for_a_reason names the fields; report the bug.",
                columns=("difference_class",),
                arguments={"value_set": ["ours"]},
            ),
            no_rows(
                "differences_are_classified",
                severity="fail",
                threshold="is_equal = (difference_class is null)",
                meaning="Each candle that differs has a class, and no other one has.",
                remedy="kline_reconciliation knows no reason for it: report the bug.",
                columns=("is_equal", "difference_class"),
                sql="""
                select concat(symbol, ' ', kline_interval, ' ', cast(opened_at as string))
                    as problem
                from {batch}
                where is_equal is null or is_equal != (difference_class is null)
                """,
            ),
            Expectation(
                name="differences_have_an_excuse",
                kind="ExpectColumnValuesToBeInSet",
                severity="warn",
                threshold=f"difference_class is one of {', '.join(DIFFERENCE_CLASSES)}",
                meaning="Candles differ at boundaries or by the exchange's doing only.",
                remedy=(
                    "missing trades: run repair_gaps; the first candle after a collector's first"
                    " start can't be whole."
                ),
                columns=("difference_class",),
                arguments={"value_set": list(DIFFERENCE_CLASSES)},
            ),
        ),
    )
