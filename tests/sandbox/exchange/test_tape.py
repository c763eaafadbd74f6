from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.exchange.market import ORIGIN_US, Aggregate, block_at
from sandbox.exchange.tape import Tape

from .conftest import START_US, small_tape

END_US = START_US + 6_000_000


def read(tape: Tape, until_us: int, step_us: int) -> list[Aggregate]:
    out: list[Aggregate] = []
    now_us = START_US
    while now_us < until_us:
        now_us = min(now_us + step_us, until_us)
        reached = False
        while not reached:
            events, reached = tape.advance(now_us)
            out += events
    return out


@settings(max_examples=15)
@given(st.integers(min_value=1_000, max_value=3_000_000))
def test_the_trades_up_to_a_time_do_not_depend_on_the_steps(step_us: int) -> None:
    assert read(small_tape(), END_US, step_us) == read(small_tape(), END_US, 10**9)


def test_a_time_is_never_emitted_twice() -> None:
    tape = small_tape()
    first = read(tape, END_US, 250_000)
    assert tape.advance(END_US) == ([], True)
    assert {a.time_us < END_US for a in first} == {True}


def test_the_past_is_what_was_emitted() -> None:
    tape = small_tape()
    emitted = [a for a in read(tape, END_US, 40_000) if a.symbol == 0]
    assert list(tape.from_aggregate(0, emitted[0].aggregate_id)) == emitted
    assert tape.next_aggregate_id(0) == emitted[-1].aggregate_id + 1
    middle = emitted[len(emitted) // 2]
    assert next(tape.from_aggregate(0, middle.aggregate_id)) == middle
    for trade_id in range(middle.first_id, middle.last_id + 1):
        assert tape.aggregate_of_trade(0, trade_id) == middle.aggregate_id
    assert tape.aggregate_of_trade(0, emitted[-1].last_id + 1) == tape.next_aggregate_id(0)
    found = next(tape.from_aggregate(0, tape.aggregate_at(0, middle.time_us)))
    assert found.time_us == middle.time_us


def test_the_past_is_open_down_to_the_first_trade() -> None:
    tape = small_tape()
    first, second = islice(tape.from_aggregate(0, -5), 2)
    assert first.time_us - ORIGIN_US < 10_000_000
    assert second.first_id == first.last_id + 1
    assert tape.aggregate_at(0, 0) == first.aggregate_id
    for aggregate in islice(tape.from_aggregate(0, 123_456_789), 500):
        for trade_id in {aggregate.first_id, aggregate.last_id}:
            assert tape.aggregate_of_trade(0, trade_id) == aggregate.aggregate_id
    assert tape.aggregate_of_trade(0, 0) == first.aggregate_id


def test_the_price_before_the_first_trade_is_known() -> None:
    early = small_tape(START_US - 600_000_000)
    read(early, START_US, 10**9)
    for symbol in range(8):
        since = early.from_aggregate(symbol, early.aggregate_at(symbol, START_US - 600_000_000))
        before = [a for a in since if a.time_us < START_US]
        if before:
            assert small_tape().previous_price(symbol) == before[-1].price


@pytest.mark.parametrize("pause_us", [START_US + 1_000_000, START_US + 2_345_678])
def test_a_pause_delays_the_market_and_loses_nothing(pause_us: int) -> None:
    tape, plain = small_tape(), small_tape()
    before = read(tape, pause_us, 100_000)
    tape.timeline.pause(pause_us)
    assert tape.advance(pause_us + 5_000_000) == ([], True)
    tape.timeline.resume(pause_us + 5_000_000)
    after: list[Aggregate] = []
    reached = False
    while not reached:
        events, reached = tape.advance(END_US + 5_000_000)
        after += events
    expected = read(plain, END_US, 10**9)
    assert [a._replace(time_us=0) for a in before + after] == [
        a._replace(time_us=0) for a in expected
    ]
    assert all(a.time_us >= pause_us + 5_000_000 for a in after)
    ours = [a for a in before + after if a.symbol == 0]
    assert list(tape.from_aggregate(0, ours[0].aggregate_id)) == ours
    assert list(islice(tape.from_aggregate(0, tape.aggregate_at(0, pause_us + 1)), 1)) == [
        next(a for a in after if a.symbol == 0)
    ]


def test_a_busy_market_comes_in_pieces_that_never_split_a_moment() -> None:
    tape = small_tape(rate=10_000)
    pieces: list[list[Aggregate]] = []
    reached = False
    while not reached:
        events, reached = tape.advance(START_US + 900_000)
        pieces.append(events)
        last = events[-1]
        assert tape.next_aggregate_id(last.symbol) == last.aggregate_id + 1
    assert len(pieces) > 3
    assert max(len(piece) for piece in pieces) < 600
    whole = [a for piece in pieces for a in piece]
    block = small_tape(rate=10_000).market.block(block_at(START_US))
    assert whole == [a for a in block if a.time_us < START_US + 900_000]


def test_a_span_is_there_when_all_of_it_was_emitted() -> None:
    tape, second = small_tape(), 1_000_000
    assert tape.span(START_US - second, START_US, START_US) == (START_US - second, START_US)
    assert tape.span(START_US, START_US + second, START_US + second) is None
    read(tape, START_US + second, second)
    assert tape.span(START_US, START_US + second, START_US + second - 1) is None
    assert tape.span(START_US, START_US + second, START_US + second) is not None
    assert tape.span(0, second, START_US) is None  # before the market began


def test_a_span_that_ends_in_a_pause_ends_with_the_market() -> None:
    tape, second = small_tape(), 1_000_000
    paused_us = START_US + second
    read(tape, paused_us, second)
    tape.timeline.pause(paused_us)
    end_us = START_US + 2 * second
    assert tape.span(START_US, end_us, end_us) == (START_US, paused_us)
    resumed_us = START_US + 5 * second
    tape.timeline.resume(resumed_us)
    assert tape.span(START_US, end_us, resumed_us) == (START_US, paused_us)
