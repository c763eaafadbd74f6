"""When REST may be asked: weight a minute, pauses and bans."""

import pytest

from collector.budget import Budget

MINUTE = 60.0


def test_weight_counts_by_minute() -> None:
    it = Budget(most=100)
    for _ in range(4):
        assert it.delay(25, 10.0) == 0
        it.spend(25, 10.0)
    assert it.delay(25, 10.0) == 51  # the next minute, and a second
    assert it.delay(25, 61.0) == 0
    it.spend(25, 61.0)
    assert (it.used, it.spent) == (25, 125)


def test_what_the_answer_says_counts() -> None:
    it = Budget(most=100)
    it.spend(25, 10.0)
    it.answered(200, {"x-mbx-used-weight-1m": "90"}, 11.0)
    assert it.delay(25, 11.0) == 50
    it.answered(200, {"X-MBX-USED-WEIGHT-1M": "many"}, 11.0)
    assert it.used == 90
    it.answered(200, {"X-MBX-USED-WEIGHT-1M": "4"}, MINUTE)
    assert (it.used, it.spent) == (4, 25)


def test_a_request_heavier_than_the_limit_goes_when_nothing_else_was_sent() -> None:
    it = Budget(most=10)
    assert it.delay(25, 0.0) == 0
    it.spend(25, 0.0)
    assert it.delay(25, 0.0) > 0


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7),
        (429, {}, 60),
        (429, {"retry-after": "soon"}, 60),
        (418, {"Retry-After": "259200"}, 259_200),
        (418, {}, 120),
        (418, {"Retry-After": "-1"}, 120),
        (503, {"Retry-After": "7"}, 0),
    ],
)
def test_pauses(status: int, headers: dict[str, str], seconds: float) -> None:
    it = Budget()
    it.answered(status, headers, 100.0)
    assert it.delay(1, 100.0) == seconds
    assert it.delay(1, 100.0 + seconds) == 0


def test_a_later_answer_makes_no_pause_shorter() -> None:
    it = Budget()
    it.answered(418, {"Retry-After": "300"}, 0.0)
    it.answered(429, {"Retry-After": "5"}, 1.0)
    assert it.paused_until == 300
