"""Which holes are fetched now, and what is said of them afterwards."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.market_ops.repair.holes import (
    ABSENT,
    FAILED,
    HEALED,
    Aggregate,
    Attempt,
    Hole,
    Part,
    left_out_by,
    merged,
    parts,
    plan,
    runs,
    without,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def hole(first: int, last: int, at: datetime = NOW, symbol: str = "BTCUSDT") -> Hole:
    return Hole(symbol=symbol, first_id=first, last_id=last, before=at, after=at)


def attempt(first: int, last: int, outcome: str, ago: timedelta) -> Attempt:
    return Attempt(
        symbol="BTCUSDT", first_id=first, last_id=last, outcome=outcome, found_at=NOW - ago
    )


def planned(
    holes: list[Hole], *attempts: Attempt, most: int = 10, ids: int = 1000
) -> list[tuple[int, int]]:
    found = plan(holes, attempts, NOW, max_holes=most, max_ids=ids)
    return [(each.first_id, each.last_id) for each in found]


def test_newest_day_first_then_small_before_large() -> None:
    old, large, small = hole(1, 2, NOW - DAY), hole(100, 199), hole(300, 301)
    assert planned([old, large, small]) == [(300, 301), (100, 199), (1, 2)]


def test_a_run_is_bounded_and_cuts_the_last_hole() -> None:
    assert planned([hole(1, 10), hole(20, 39)], ids=15) == [(1, 10), (20, 24)]
    assert planned([hole(1, 10), hole(20, 39)], most=1) == [(1, 10)]
    assert planned([hole(1, 10), hole(20, 39)], ids=10) == [(1, 10)]


def test_what_is_settled_or_rests_is_left_out() -> None:
    absent = attempt(3, 4, ABSENT, 300 * DAY)
    healed = attempt(6, 7, HEALED, timedelta(minutes=59))
    lost_again = attempt(9, 9, HEALED, timedelta(minutes=61))
    assert planned([hole(1, 9)], absent, healed, lost_again) == [
        (5, 5),
        (1, 2),
        (8, 9),
    ]


def test_a_failure_rests_longer_each_time() -> None:
    def after(*hours_ago: float) -> list[tuple[int, int]]:
        failures = [attempt(1, 9, FAILED, timedelta(hours=hours)) for hours in hours_ago]
        return planned([hole(1, 9)], *failures)

    assert after(0.9) == []
    assert after(1.1) == [(1, 9)]
    assert after(3, 1.1) == []
    assert after(9, 2.1) == [(1, 9)]
    assert after(*[300] * 50, 23) == []
    assert after(*[300] * 50, 25) == [(1, 9)]


def test_a_hole_that_failed_before_is_no_news() -> None:
    failed = attempt(5, 5, FAILED, 2 * DAY)
    first, second = plan([hole(1, 9), hole(20, 29)], [failed], NOW, max_holes=9, max_ids=99)
    assert (first.is_news, second.is_news) == (False, True)


def test_another_symbols_attempt_says_nothing() -> None:
    assert planned([hole(1, 9, symbol="ETHUSDT")], attempt(1, 9, ABSENT, DAY)) == [(1, 9)]


ids = st.sets(st.integers(0, 60))
ranges = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: tuple(sorted(pair)))


def members(found: list[tuple[int, int]]) -> list[int]:
    return [each for first, last in found for each in range(first, last + 1)]


@given(ids)
def test_runs_are_the_ids_in_order(some: set[int]) -> None:
    found = runs(some)
    assert members(found) == sorted(some)
    assert all(one[1] + 1 < other[0] for one, other in pairwise(found))


@given(ranges, st.lists(ranges))
def test_without_is_the_difference(whole: tuple[int, int], taken: list[tuple[int, int]]) -> None:
    left = set(members([whole])) - set(members(taken))
    assert members(without(whole, taken)) == sorted(left)


@given(st.lists(ranges))
def test_merged_is_the_union(some: list[tuple[int, int]]) -> None:
    assert members(merged(some)) == sorted(set(members(some)))


@given(ids, ids)
def test_the_parts_of_a_hole_are_the_hole(healed: set[int], absent: set[int]) -> None:
    whole = hole(10, 40)
    inside = {each for each in healed if 10 <= each <= 40}
    proven = [
        Part(first_id=first, last_id=last, outcome=ABSENT, witnesses="two")
        for first, last in runs({each for each in absent - healed if 10 <= each <= 40})
    ]
    found = parts(whole, runs(inside), proven, "because")
    covered = [each for part in found for each in range(part.first_id, part.last_id + 1)]
    assert covered == list(range(10, 41))
    assert {each.detail for each in found if each.outcome == FAILED} <= {"because"}


@pytest.mark.parametrize(
    ("aggregates", "is_proven"),
    [
        ([Aggregate(7, 1, 4), Aggregate(8, 8, 9)], True),
        ([Aggregate(8, 8, 9), Aggregate(7, 1, 4), Aggregate(7, 1, 4)], True),
        ([Aggregate(7, 1, 4), Aggregate(9, 8, 9)], False),  # 8 may have had them
        ([Aggregate(7, 1, 6), Aggregate(8, 8, 9)], False),  # 7 says it has 5 and 6
        ([Aggregate(7, 1, 4)], False),
        ([], False),
    ],
)
def test_aggregates_prove_absence_only_without_a_hole_of_their_own(
    aggregates: list[Aggregate], is_proven: bool
) -> None:
    assert (left_out_by((5, 7), aggregates) is not None) is is_proven
