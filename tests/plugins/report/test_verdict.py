from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from plugins.market_ops.report.facts import Facts, Silent
from plugins.market_ops.report.queries import end_of
from plugins.market_ops.report.verdict import COMPLETE, INCOMPLETE, PROVISIONAL, judge
from tests.plugins.report.samples import (
    DAY,
    NOW,
    at,
    bad_day,
    check,
    compared,
    completeness,
    good_day,
    hole,
)


def words(facts: Facts, now: datetime = NOW) -> list[str]:
    return [reason.word for reason in judge(facts, now).reasons]


def silent(**changes: Any) -> Silent:
    row = Silent(
        market="spot", symbol="QUIETUSDT", last_traded_on=DAY - timedelta(days=2),
        next_traded_on=None, status="TRADING", is_silence_proven=False,
    )  # fmt: skip
    return replace(row, **changes)


def test_a_day_without_doubt_is_complete() -> None:
    verdict = judge(good_day(), NOW)
    assert (verdict.word, verdict.reasons) == (COMPLETE, ())
    assert verdict.why.startswith("All 200 trades of 2 symbols are here")


def test_an_empty_day_is_incomplete() -> None:
    verdict = judge(Facts(day=DAY), NOW)
    assert verdict.word == INCOMPLETE
    assert "no trade" in verdict.why
    assert "backfill_history" in verdict.what_to_do


Break = Callable[[Facts], Facts]


@pytest.mark.parametrize(
    ("change", "word", "why"),
    [
        (lambda f: replace(f, holes=(hole(),)), INCOMPLETE, "BTCUSDT, ids 1050 to 1052"),
        (
            lambda f: replace(f, completeness=(completeness(verdict=INCOMPLETE),)),
            INCOMPLETE,
            "not of one build",
        ),
        (
            lambda f: replace(f, reconciliation=(compared("1m", "ours", 2),)),
            INCOMPLETE,
            "2 candles differ from",
        ),
        (
            lambda f: replace(f, completeness=(completeness(conflicts=1),)),
            INCOMPLETE,
            "1 trade arrived with two prices",
        ),
        (lambda f: replace(f, checks=(check(),)), INCOMPLETE, "raw_trades.prices_are_positive"),
        (
            lambda f: replace(f, completeness=(completeness(verdict=PROVISIONAL),)),
            PROVISIONAL,
            "1 symbol (BTCUSDT) had no trade after the day",
        ),
        (lambda f: replace(f, silent=(silent(),)), PROVISIONAL, "QUIETUSDT"),
    ],
)
def test_what_makes_a_day_less_than_complete(change: Break, word: str, why: str) -> None:
    verdict = judge(change(good_day()), NOW)
    assert (verdict.word, len(verdict.reasons)) == (word, 1)
    assert why in verdict.why
    assert verdict.what_to_do


@pytest.mark.parametrize(
    "change",
    [
        lambda f: replace(f, holes=(hole(is_unpublished=True),)),
        lambda f: replace(f, reconciliation=(compared("1m", "boundary", 2),)),
        lambda f: replace(f, reconciliation=()),
        lambda f: replace(f, checks=None),
        lambda f: replace(f, checks=(check(is_over=True), check(severity="warn"))),
        lambda f: replace(f, completeness=(completeness(verdict=PROVISIONAL, status="DELISTED"),)),
        lambda f: replace(f, silent=(silent(is_silence_proven=True),)),
        lambda f: replace(f, silent=(silent(status="BREAK"),)),
        lambda f: replace(f, silent=(silent(next_traded_on=DAY + timedelta(days=1)),)),
    ],
)
def test_what_does_not_count_against_a_day(change: Break) -> None:
    assert judge(change(good_day()), NOW).word == COMPLETE


def test_a_symbol_without_a_snapshot_may_still_trade() -> None:
    row = completeness(verdict=PROVISIONAL, status=None)
    assert words(replace(good_day(), completeness=(row,))) == [PROVISIONAL]


def test_a_day_that_goes_on_is_provisional_until_midnight() -> None:
    facts = replace(good_day(), completeness=(completeness(verdict=PROVISIONAL),))
    verdict = judge(facts, at(13, 5))
    assert verdict.word == PROVISIONAL
    assert verdict.why == "The day is not over; this is what is known at 13:05 UTC."
    assert words(Facts(day=DAY), at(0)) == [PROVISIONAL]
    assert words(good_day(), end_of(DAY)) == []


def test_the_worst_reason_leads_and_all_are_kept() -> None:
    verdict = judge(bad_day(), NOW)
    assert [reason.word for reason in verdict.reasons] == [*[INCOMPLETE] * 3, PROVISIONAL]
    assert verdict.why == verdict.reasons[0].why
    assert words(bad_day(), at(23)) == [*[INCOMPLETE] * 3, PROVISIONAL]


def test_names_are_counted_beyond_three() -> None:
    rows = tuple(completeness(f"S{n}USDT", verdict=PROVISIONAL) for n in range(5))
    verdict = judge(replace(good_day(), completeness=rows), NOW)
    assert "5 symbols (S0USDT, S1USDT, S2USDT and 2 more)" in verdict.why
