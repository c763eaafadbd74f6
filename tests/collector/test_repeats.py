"""What two connections deliver is kept once; what differs is kept twice."""

import pytest

from collector import repeats
from collector.repeats import Repeats
from tests.collector.test_sealing import TIME_NS, envelope, trade

TIMES = [TIME_NS, TIME_NS + 1]


def kept(it: Repeats, connection: str, *messages: bytes) -> list[bytes]:
    found, times = it.fresh(connection, list(messages), [TIME_NS] * len(messages))
    assert len(found) == len(times)
    return found


def test_what_another_connection_has_delivered_is_dropped() -> None:
    it = Repeats()
    assert kept(it, "a", trade(1), trade(2)) == [trade(1), trade(2)]
    assert kept(it, "b", trade(1), trade(2), trade(3)) == [trade(3)]
    assert kept(it, "a", trade(3), trade(4)) == [trade(4)]


def test_the_same_connection_may_say_a_thing_twice() -> None:
    it = Repeats()
    assert kept(it, "a", trade(1), trade(1)) == [trade(1), trade(1)]


def test_times_stay_with_their_messages() -> None:
    it = Repeats()
    kept(it, "a", trade(1))
    assert it.fresh("b", [trade(1), trade(2)], TIMES) == ([trade(2)], [TIME_NS + 1])


def test_the_event_time_may_differ() -> None:
    it = Repeats()
    kept(it, "a", trade(1))
    later = trade(1).replace(b'"E":1770000000001', b'"E":1770000000009')
    assert later != trade(1)
    assert kept(it, "b", later) == []


@pytest.mark.parametrize(
    "other",
    [
        trade(1).replace(b'"2.50000000"', b'"2.60000000"'),
        trade(1).replace(b"true", b"false", 1),
        trade(1, "ETHUSDT"),
        trade(1)[:-9],
    ],
)
def test_what_differs_is_kept(other: bytes) -> None:
    it = Repeats()
    kept(it, "a", trade(1))
    assert kept(it, "b", other) == [other]


def test_each_connection_s_notice_is_kept() -> None:
    it = Repeats()
    notice = b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770000000001}}'
    assert kept(it, "a", notice) == kept(it, "b", notice) == [notice]


def test_replies_and_garbage_are_kept() -> None:
    it = Repeats()
    bare = [b'{"result":null,"id":1}', b"", b"\x00garbage"]
    assert kept(it, "a", *bare) == kept(it, "b", *bare) == bare


def test_other_channels() -> None:
    it = Repeats()
    book = envelope("a@bookTicker", {"u": 1, "s": "A", "b": "1", "B": "1", "a": "1", "A": "1"})
    assert kept(it, "a", book) == [book]
    assert kept(it, "b", book) == []


def test_a_candle_that_has_not_changed_is_no_repeat() -> None:
    it = Repeats()
    one, other = (
        envelope("a@kline_1m", {"e": "kline", "E": time, "s": "A", "k": {"t": 1}})
        for time in (1, 2)
    )
    assert kept(it, "a", one) == [one]
    assert kept(it, "b", one, other) == [other]


def test_of_a_long_overlap_the_older_half_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MAX_KNOWN", 10)
    it = Repeats()
    kept(it, "a", *(trade(number) for number in range(11)))
    again = kept(it, "b", *(trade(number) for number in range(11)))
    assert again == [trade(number) for number in range(6)]


def test_after_an_overlap_all_is_forgotten() -> None:
    it = Repeats()
    kept(it, "a", trade(1))
    it.forget([TIME_NS + 9_000_000_000])
    assert kept(it, "b", trade(1)) == []
    it.forget([TIME_NS + 11_000_000_000])
    assert kept(it, "b", trade(1)) == [trade(1)]
