"""The weight budget: what is used is what the exchange says, and who is told to wait waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.market_ops.repair.budget import Banned, Budget

MINUTE = 60.0 * 1000
USED = "x-mbx-used-weight-1m"


def test_requests_go_at_once_while_there_is_weight() -> None:
    budget = Budget(100)
    assert [budget.wait(25, MINUTE + second) for second in range(4)] == [0.0] * 4
    assert budget.wait(25, MINUTE + 10) == 51.0  # the next minute, and a second
    assert budget.wait(75, MINUTE + 61) == 0.0


def test_what_others_used_counts() -> None:
    budget = Budget(100)
    budget.wait(25, MINUTE)
    budget.answered(200, {USED: "90"}, MINUTE + 1)
    assert budget.wait(25, MINUTE + 2) == 59.0


def test_an_answer_of_the_next_minute_begins_anew() -> None:
    budget = Budget(100)
    budget.answered(200, {USED: "100"}, MINUTE + 59)
    budget.answered(200, {USED: "25"}, MINUTE + 60)
    assert budget.wait(75, MINUTE + 61) == 0.0


@pytest.mark.parametrize(("headers", "pause"), [({"retry-after": "7"}, 7.0), ({}, 60.0)])
def test_429_waits_as_long_as_it_is_told(headers: dict[str, str], pause: float) -> None:
    budget = Budget(100)
    budget.answered(429, headers, MINUTE)
    assert budget.wait(1, MINUTE + 2) == pause - 2
    assert budget.wait(1, MINUTE + pause) == 0.0


def test_418_bans_until_it_is_over() -> None:
    budget = Budget(100)
    with pytest.raises(Banned) as caught:
        budget.answered(418, {"Retry-After": "300"}, MINUTE)
    assert caught.value.until == MINUTE + 300
    with pytest.raises(Banned):
        budget.wait(1, MINUTE + 299)
    assert budget.wait(1, MINUTE + 300) == 0.0


def test_a_known_ban_is_kept() -> None:
    with pytest.raises(Banned):
        Budget(100, banned_until=MINUTE + 1).wait(1, MINUTE)


@given(st.lists(st.tuples(st.sampled_from([4, 25]), st.floats(0, 30)), max_size=200))
def test_no_minute_uses_more_than_its_share(asked: list[tuple[int, float]]) -> None:
    budget, now = Budget(100), MINUTE
    used: dict[int, int] = {}
    for weight, pause in asked:
        now += pause
        now += budget.wait(weight, now)
        minute = int(now // 60)
        used[minute] = used.get(minute, 0) + weight
        budget.answered(200, {USED: str(used[minute])}, now)
    assert max(used.values(), default=0) <= 100
