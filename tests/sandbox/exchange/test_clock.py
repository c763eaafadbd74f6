import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.exchange.clock import SimulatedClock, Timeline


def test_the_clock_runs_at_its_speed() -> None:
    wall = [100.0]
    clock = SimulatedClock(start_us=1_000_000, speed=60.0, wall=lambda: wall[0])
    assert clock.now_us() == 1_000_000
    wall[0] += 0.5
    assert clock.now_us() == 31_000_000


def test_a_hurry_ends_where_and_when_it_should() -> None:
    wall = [100.0]
    clock = SimulatedClock(start_us=1_000_000, speed=2.0, wall=lambda: wall[0])
    wall[0] += 1
    clock.hurry(until_us=63_000_000, seconds=10)
    assert (clock.now_us(), clock.is_hurrying) == (3_000_000, True)
    wall[0] += 5
    assert clock.now_us() == 33_000_000
    wall[0] += 5
    assert (clock.now_us(), clock.is_hurrying) == (63_000_000, False)
    wall[0] += 1
    assert clock.now_us() == 65_000_000
    with pytest.raises(ValueError, match="there already"):
        clock.hurry(until_us=65_000_000, seconds=1)


def test_market_time_stands_still_while_paused() -> None:
    timeline = Timeline()
    timeline.pause(100)
    timeline.pause(150)
    assert timeline.paused
    assert timeline.reached(500) == 100
    timeline.resume(500)
    timeline.resume(600)
    assert timeline.reached(510) == 110
    assert timeline.to_simulated(99) == 99
    assert timeline.to_simulated(105) == 505


@given(st.lists(st.integers(min_value=1, max_value=50), max_size=8), st.integers(1, 600))
def test_the_two_times_translate_into_each_other(steps: list[int], simulated: int) -> None:
    timeline, now = Timeline(), 0
    for i, step in enumerate(steps):
        now += step
        (timeline.pause if i % 2 == 0 else timeline.resume)(now)
    market = timeline.to_market(simulated)
    assert timeline.to_simulated(market) >= simulated
    assert market == 0 or timeline.to_simulated(market - 1) < simulated
