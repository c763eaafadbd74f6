"""What became of missing ids: the newest row of an id counts, what nobody speaks of is open."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plugins.market_ops.report.facts import Facts
from plugins.market_ops.report.outcomes import absences, lost, outcome_of, outcomes
from plugins.market_ops.report.verdict import COMPLETE, INCOMPLETE, PROVISIONAL, judge
from tests.plugins.report.samples import DAY, NOW, at, good_day, hole, repair

ABSENT = {"outcome": "absent_at_source", "witnesses": "rest and the aggregates"}


def ranges(facts: Facts) -> list[tuple[int, int, str]]:
    return [(row.first_id, row.last_id, row.outcome) for row in outcomes(facts)]


def test_a_hole_that_nobody_tried_is_open() -> None:
    facts = Facts(day=DAY, holes=(hole(),))
    assert ranges(facts) == [(1050, 1052, "open")]
    assert outcome_of(hole(), outcomes(facts)) == "open"


def test_the_newest_row_of_an_id_counts() -> None:
    old = repair(found_at=at(15))
    new = repair(last_missing_id=1051, outcome="healed", source="rest", found_at=at(16))
    for repairs in ((old, new), (new, old)):
        facts = Facts(day=DAY, repairs=repairs)
        assert ranges(facts) == [(1052, 1052, "failed"), (1050, 1051, "healed")]


def test_a_hole_is_called_by_its_worst_part() -> None:
    facts = Facts(day=DAY, holes=(hole(),), repairs=(repair(last_missing_id=1051, **ABSENT),))
    assert ranges(facts) == [(1052, 1052, "open"), (1050, 1051, "absent_at_source")]
    assert outcome_of(hole(), outcomes(facts)) == "open"
    assert outcome_of(hole(is_unpublished=True), outcomes(facts)) == "unpublished"


def test_other_symbols_and_markets_say_nothing() -> None:
    others = (repair("ETHUSDT", **ABSENT), repair(market="um", **ABSENT))
    facts = Facts(day=DAY, holes=(hole(),), repairs=others)
    assert [each.missing for each in lost(facts)] == [3]
    assert absences(facts) == []


def test_healed_trades_are_not_in_the_marts_yet() -> None:
    row = repair(outcome="healed", source="rest")
    (built,) = outcomes(Facts(day=DAY, repairs=(row,)))
    (not_yet,) = outcomes(Facts(day=DAY, holes=(hole(),), repairs=(row,)))
    assert (built.is_missing, not_yet.is_missing) == (False, True)


def word(**changes: Any) -> tuple[str, str]:
    verdict = judge(replace(good_day(), **changes), NOW)
    return verdict.word, verdict.why


def test_what_is_absent_at_the_source_is_no_loss() -> None:
    assert word()[0] == COMPLETE
    assert word(holes=(hole(),))[0] == INCOMPLETE
    found, why = word(holes=(hole(),), repairs=(repair(**ABSENT),))
    assert found == PROVISIONAL
    assert why.startswith("3 trade ids (BTCUSDT) were never traded, as two witnesses")
    found, why = word(holes=(hole(),), repairs=(repair(last_missing_id=1051, **ABSENT),))
    assert found == INCOMPLETE
    assert "1 trade of 1 symbol that the exchange sent is missing" in why


ids = st.tuples(st.integers(1, 40), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair)))


@given(
    st.lists(ids, max_size=4),
    st.lists(
        st.tuples(
            ids, st.sampled_from(["healed", "failed", "absent_at_source"]), st.integers(0, 9)
        ),
        max_size=6,
    ),
)
def test_each_id_has_one_outcome(holes: Any, told: Any) -> None:
    rows = tuple(
        repair(
            first_missing_id=first, last_missing_id=last, outcome=outcome, found_at=at(9, minute)
        )
        for (first, last), outcome, minute in told
    )
    # The marts' holes never touch each other.
    apart = [(100 * n + first, 100 * n + last) for n, (first, last) in enumerate(holes)]
    facts = Facts(
        day=DAY,
        holes=tuple(
            hole(first_missing_id=a, last_missing_id=b, missing=b - a + 1) for a, b in apart
        ),
        repairs=rows,
    )
    found = outcomes(facts)
    each = [number for row in found for number in range(row.first_id, row.last_id + 1)]
    assert len(each) == len(set(each))
    spoken = {n for row in rows for n in range(row.first_missing_id, row.last_missing_id + 1)}
    missing = {n for a, b in apart for n in range(a, b + 1)}
    assert set(each) == spoken | missing
    absent = {n for row in absences(facts) for n in range(row.first_id, row.last_id + 1)}
    kept = {n for row in lost(facts) for n in range(row.first_missing_id, row.last_missing_id + 1)}
    assert kept == missing - absent
