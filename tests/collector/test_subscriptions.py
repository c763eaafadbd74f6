import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.subscriptions import Subscriptions

STREAMS = tuple(f"s{number}@trade" for number in range(5))


def sent(subject: Subscriptions, now: float = 0.0) -> list[dict[str, Any]]:
    messages = []
    while subject.has_next:
        messages.append(json.loads(subject.next_message(now)))
    return messages


def acknowledge(subject: Subscriptions, messages: list[dict[str, Any]]) -> None:
    for message in messages:
        assert subject.take_reply({"result": None, "id": message["id"]}) is None


def test_active_once_acknowledged() -> None:
    subject = Subscriptions(10.0)
    subject.want(STREAMS)
    messages = sent(subject)
    assert messages == [{"method": "SUBSCRIBE", "params": list(STREAMS), "id": 1}]
    assert (subject.active, subject.is_settled) == (set(), False)
    acknowledge(subject, messages)
    assert (subject.active, subject.is_settled) == (set(STREAMS), True)


def test_only_what_changed_is_asked_for() -> None:
    subject = Subscriptions(10.0)
    subject.want(STREAMS)
    acknowledge(subject, sent(subject))
    subject.want((*STREAMS[1:], "new@trade"))
    messages = sent(subject)
    assert [(each["method"], each["params"], each["id"]) for each in messages] == [
        ("UNSUBSCRIBE", ["s0@trade"], 2),
        ("SUBSCRIBE", ["new@trade"], 3),
    ]
    acknowledge(subject, messages)
    assert subject.active == {*STREAMS[1:], "new@trade"}


@given(st.lists(st.sets(st.sampled_from(STREAMS)), max_size=6), st.randoms())
def test_it_ends_with_what_was_wanted_last(wishes: list[set[str]], chance: Any) -> None:
    subject = Subscriptions(10.0)
    at_exchange: set[str] = set()
    unanswered: list[dict[str, Any]] = []
    for wish in [*wishes, set(STREAMS[:2])]:
        subject.want(sorted(wish))
        if chance.random() < 0.5:
            unanswered += sent(subject)
    unanswered += sent(subject)
    for message in unanswered:
        change = (
            at_exchange.update
            if message["method"] == "SUBSCRIBE"
            else (at_exchange.difference_update)
        )
        change(message["params"])
    acknowledge(subject, unanswered)
    assert subject.active == at_exchange == set(STREAMS[:2])
    assert subject.is_settled


def test_a_refusal_without_an_id_means_the_oldest() -> None:
    subject = Subscriptions(10.0)
    subject.want(("a@trade",))
    subject.want(("a@trade", "b@trade"))
    sent(subject)
    complaint = subject.take_reply({"code": 2, "msg": "Invalid request"})
    assert str(complaint) == "2: Invalid request, to SUBSCRIBE of a@trade"
    assert subject.refused == {"a@trade"}
    acknowledge(subject, [{"id": 2}])
    assert (subject.active, subject.is_settled) == ({"b@trade"}, True)


def test_a_refusal_with_an_id_means_that_one() -> None:
    subject = Subscriptions(10.0)
    subject.want(("a@trade",))
    subject.want(("a@trade", "b@trade"))
    sent(subject)
    complaint = subject.take_reply({"code": 0, "msg": "Unknown property", "id": 2})
    assert complaint is not None
    assert complaint.streams == ("b@trade",)


def test_halves_are_asked_for_until_the_odd_one_is_found() -> None:
    subject = Subscriptions(10.0)
    subject.want(STREAMS)
    refusals = 0
    while not subject.is_settled:
        for message in sent(subject):
            if "s3@trade" in message["params"]:
                refusals += 1
                assert subject.take_reply({"code": 2, "msg": "odd"}) is not None
            else:
                acknowledge(subject, [message])
    assert subject.refused == {"s3@trade"}
    assert subject.active == set(STREAMS) - {"s3@trade"}
    assert refusals <= 4
    subject.want(STREAMS[:3])
    assert subject.refused == set(), "it is not wanted any more"


def test_many_streams_are_counted_in_a_complaint() -> None:
    subject = Subscriptions(10.0)
    subject.want(tuple(f"s{number}" for number in range(8)))
    sent(subject)
    assert str(subject.take_reply({"code": 3, "msg": "Invalid JSON"})) == (
        "3: Invalid JSON, to SUBSCRIBE of s0, s1, s2, s3, s4 and 3 more"
    )


def test_a_complaint_about_nothing_that_was_asked() -> None:
    assert str(Subscriptions(10.0).take_reply({"code": 1, "msg": "?"})) == "1: ?"


@pytest.mark.parametrize(
    "control", [{"result": None, "id": 9}, {"result": []}, {"id": ["x"]}, {"e": "?"}, {}]
)
def test_other_messages_change_nothing(control: dict[str, Any]) -> None:
    subject = Subscriptions(10.0)
    subject.want(STREAMS)
    sent(subject)
    assert subject.take_reply(control) is None
    assert not subject.is_settled


def test_overdue() -> None:
    subject = Subscriptions(10.0)
    subject.want(STREAMS)
    assert subject.overdue(1000.0) is None, "it was not sent"
    messages = sent(subject, now=100.0)
    assert subject.overdue(109.9) is None
    assert subject.overdue(110.0) == "SUBSCRIBE not answered for 10 s"
    acknowledge(subject, messages)
    assert subject.overdue(1000.0) is None
