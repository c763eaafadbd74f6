import pytest

from sandbox.pubsub.faults import Fault, FaultPlan, parse_fault
from sandbox.pubsub.model import SECOND


@pytest.fixture
def plan():
    return FaultPlan(seed=7)


def test_nothing_fails_without_faults(plan):
    assert not plan.unavailable("publish", 0)
    assert plan.delay_seconds("subscribe", 0) == 0.0
    assert not plan.strikes("duplicate", 0)


def test_for_the_next_calls(plan):
    plan.add(Fault("unavailable", calls=2), now=0)
    assert [plan.unavailable("publish", 0) for _ in range(4)] == [True, True, False, False]
    assert plan.describe(0) == []


def test_for_a_duration(plan):
    plan.add(Fault("drop_ack", seconds=1.5), now=SECOND)
    assert plan.strikes("drop_ack", 2 * SECOND)
    assert not plan.strikes("drop_ack", 2 * SECOND + SECOND // 2)


def test_until_removed_or_cleared(plan):
    first = plan.add(Fault("lost_reply"), now=0)
    plan.add(Fault("slow", delay_seconds=2), now=0)
    assert plan.strikes("lost_reply", 10**15)
    assert plan.remove(first)
    assert not plan.remove(first)
    assert not plan.strikes("lost_reply", 0)
    assert plan.delay_seconds("publish", 0) == 2
    plan.clear()
    assert plan.delay_seconds("publish", 0) == 0


def test_target(plan):
    plan.add(Fault("unavailable", target="publish"), now=0)
    assert plan.unavailable("publish", 0)
    assert not plan.unavailable("subscribe", 0)


def test_other_calls_do_not_use_up_a_fault(plan):
    plan.add(Fault("unavailable", target="publish", calls=1), now=0)
    plan.unavailable("subscribe", 0)
    plan.strikes("duplicate", 0)
    assert plan.unavailable("publish", 0)


def test_every_nth(plan):
    plan.add(Fault("duplicate", every=3), now=0)
    assert [plan.strikes("duplicate", 0) for _ in range(6)] == [False, False, True] * 2


def test_probability_repeats_with_the_seed():
    def run(seed):
        plan = FaultPlan(seed)
        plan.add(Fault("duplicate", probability=0.3), now=0)
        return [plan.strikes("duplicate", 0) for _ in range(1000)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 230 < sum(run(1)) < 370


def test_describe(plan):
    plan.add(Fault("slow", target="subscribe", calls=3, delay_seconds=0.5), now=0)
    plan.delay_seconds("subscribe", 0)
    [shown] = plan.describe(0)
    assert shown["id"] == 1
    assert shown["kind"] == "slow"
    assert (shown["calls"], shown["calls_left"]) == (3, 2)


def test_parse():
    assert parse_fault({"kind": "slow", "delay_seconds": 1}) == Fault("slow", delay_seconds=1)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "JSON object"),
        ({}, "kind"),
        ({"kind": "explode"}, "kind: expected one of"),
        ({"kind": "slow"}, "delay_seconds: expected above 0"),
        ({"kind": "slow", "delay_seconds": 61}, "at most 60"),
        ({"kind": "unavailable", "delay_seconds": 1}, "delay_seconds"),
        ({"kind": "unavailable", "target": "admin"}, "target"),
        ({"kind": "unavailable", "calls": 0}, "calls"),
        ({"kind": "unavailable", "calls": 1.5}, "calls"),
        ({"kind": "unavailable", "calls": True}, "calls"),
        ({"kind": "unavailable", "seconds": -1}, "seconds"),
        ({"kind": "unavailable", "seconds": "1"}, "seconds"),
        ({"kind": "duplicate", "probability": 1.5}, "probability"),
        ({"kind": "duplicate", "every": 0}, "every"),
        ({"kind": ["slow"]}, "kind"),
        ({"kind": "slow", "delay": 1}, "unknown"),
    ],
)
def test_parse_names_the_mistake(body, reason):
    with pytest.raises(ValueError, match=reason):
        parse_fault(body)


def test_all_mistakes_are_named_together():
    with pytest.raises(ValueError, match=r"calls: .*; every: "):
        Fault("duplicate", calls=-1, every=-1)
