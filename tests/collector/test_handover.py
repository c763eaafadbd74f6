from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.handover import Handover, Verdict, read_runs
from tests.collector.fake_exchange import trade

SKEW, WATCH, LIMIT = 1.0, 0.25, 10.0


@pytest.fixture
def handover() -> Handover:
    """The new connection was acknowledged at 0 s."""
    it = Handover(skew=SKEW, watch=WATCH, limit=LIMIT)
    it.acknowledge(0.0)
    return it


def test_not_before_everything_is_acknowledged() -> None:
    it = Handover(skew=SKEW, watch=WATCH, limit=LIMIT)
    it.deliver_old({"a": (1, 5)}, 0.0)
    it.deliver_new({"a": (5, 5)}, 0.0)
    assert it.verdict(1000.0) is Verdict.WAIT


def test_not_before_late_messages_had_their_time(handover: Handover) -> None:
    handover.deliver_old({"a": (1, 5)}, 0.1)
    handover.deliver_new({"a": (5, 5)}, 0.1)
    assert handover.verdict(SKEW + WATCH - 0.01) is Verdict.WAIT
    assert handover.verdict(SKEW + WATCH) is Verdict.JOINED


@pytest.mark.parametrize(("last", "verdict"), [(3, Verdict.WAIT), (4, Verdict.JOINED)])
def test_ids_overlap_or_are_neighbours(handover: Handover, last: int, verdict: Verdict) -> None:
    handover.deliver_new({"a": (5, 9)}, 0.1)
    handover.deliver_old({"a": (1, last)}, 0.1)
    assert handover.verdict(2.0) is verdict


def test_what_the_old_one_delivers_the_new_one_must_too(handover: Handover) -> None:
    handover.deliver_new({"a": (5, 9)}, 0.1)
    handover.deliver_old({"a": (1, 9), "b": (3, 3)}, SKEW + 0.1)
    assert handover.verdict(2.0) is Verdict.WAIT
    assert handover.missing() == ["b"]
    handover.deliver_new({"b": (3, 3)}, 2.0)
    assert handover.verdict(2.0) is Verdict.JOINED


def test_what_only_the_old_one_was_sent_is_not_waited_for(handover: Handover) -> None:
    handover.deliver_old({"a": (1, 9), "b": (3, 3)}, 0.5)
    handover.deliver_new({"a": (5, 9)}, 0.6)
    assert handover.verdict(2.0) is Verdict.JOINED


def test_what_begins_to_trade_later_is_not_waited_for(handover: Handover) -> None:
    handover.deliver_old({"a": (1, 9)}, 0.5)
    handover.deliver_new({"a": (5, 9)}, 0.6)
    handover.deliver_new({"late": (7, 7)}, 2.0)
    assert handover.verdict(2.0) is Verdict.JOINED


def test_streams_without_ids_have_to_be_delivered_by_both(handover: Handover) -> None:
    handover.deliver_old({"a": None}, SKEW + 0.1)
    assert handover.verdict(2.0) is Verdict.WAIT
    handover.deliver_new({"a": None}, 2.0)
    assert handover.verdict(2.0) is Verdict.JOINED


@pytest.mark.parametrize(
    ("deliver", "verdict"),
    [
        (lambda it: it.deliver_old({"a": (1, 1)}, SKEW + 0.1), Verdict.FAILED),
        (
            lambda it: (it.deliver_new({"a": (9, 9)}, 0.1), it.deliver_old({"a": (1, 1)}, 0.1)),
            Verdict.TAKEN,
        ),
        (lambda it: None, Verdict.TAKEN),
    ],
    ids=["only the old one delivers", "one stream has not joined", "nothing happens"],
)
def test_at_the_limit(
    handover: Handover, deliver: Callable[[Handover], Any], verdict: Verdict
) -> None:
    deliver(handover)
    assert handover.verdict(LIMIT - 0.01) is Verdict.WAIT
    assert handover.verdict(LIMIT) is verdict


def test_an_old_one_that_is_silent_is_not_waited_for(handover: Handover) -> None:
    handover.deliver_new({"a": (1, 1)}, 0.1)
    assert handover.verdict(SKEW) is Verdict.WAIT
    assert handover.verdict(SKEW + WATCH) is Verdict.TAKEN


_LATENESS = st.lists(st.sampled_from([0.0, 0.1, 0.6, SKEW]), min_size=1, max_size=5)


@given(
    happens=st.lists(
        st.tuples(st.integers(0, 60).map(lambda n: n / 10), st.sampled_from("abc")), max_size=60
    ),
    subscribed=st.integers(0, 40).map(lambda n: n / 10),
    old_lateness=_LATENESS,
    new_lateness=_LATENESS,
)
@example([(3.0, "a"), (3.2, "b")], 3.1, [SKEW, 0.0], [0.0])  # one is as late as may be
@example([(3.0, "a"), (3.2, "a")], 3.1, [0.6], [0.0])
def test_nothing_falls_between_the_two(
    happens: list[tuple[float, str]],
    subscribed: float,
    old_lateness: list[float],
    new_lateness: list[float],
) -> None:
    """Two servers, each late in its own way: what the new one misses the old one has delivered.

    A message that happened before the subscription only the old one can deliver; it has done so
    when the rule lets it close.
    """
    happens.sort()
    old = _arrivals(happens, old_lateness)
    new = [each for each in _arrivals(happens, new_lateness) if each[1] >= subscribed]
    acknowledged = subscribed + new_lateness[0]
    it = Handover(skew=SKEW, watch=WATCH, limit=LIMIT)
    now = 0.0
    while it.verdict(now) is Verdict.WAIT:
        for arrivals, deliver in ((old, it.deliver_old), (new, it.deliver_new)):
            while arrivals and arrivals[0][0] <= now:
                _, _, stream, number = arrivals.pop(0)
                deliver({stream: (number, number)}, now)
        if now >= acknowledged:
            it.acknowledge(now)
        now += 0.05
    assert it.verdict(now) is not Verdict.FAILED
    assert [each for each in old if each[1] < subscribed] == []


def _arrivals(
    happens: list[tuple[float, str]], lateness: list[float]
) -> list[tuple[float, float, str, int]]:
    """Return (arrives, happened, stream, id) of each message; a stream keeps its order."""
    arrivals, last = [], dict.fromkeys("abc", 0.0)
    for number, (happened, stream) in enumerate(happens):
        last[stream] = max(last[stream], happened + lateness[number % len(lateness)])
        arrivals.append((last[stream], happened, stream, number))
    return sorted(arrivals)


def test_runs_are_read_by_channel() -> None:
    messages = [
        trade("a@trade", 7),
        trade("b@trade", 1),
        trade("a@trade", 8),
        b'{"result":null,"id":1}',
        b'{"stream":"a@trade","data":{"t":"no number"}}',
        b"\xff",
    ]
    assert read_runs("trade", messages) == {"a@trade": (7, 8), "b@trade": (1, 1)}
    assert read_runs("kline_1m", messages[:2]) == {"a@trade": None, "b@trade": None}


def test_the_id_is_the_channel_s_own() -> None:
    message = b'{"stream":"a@aggTrade","data":{"e":"aggTrade","s":"A","a":5,"f":70,"l":71,"T":9}}'
    assert read_runs("aggTrade", [message]) == {"a@aggTrade": (5, 5)}
    ticker = '{"stream":"币@bookTicker","data":{"u":400,"s":"币","b":"1","B":"2"}}'.encode()
    assert read_runs("bookTicker", [ticker]) == {"币@bookTicker": (400, 400)}
