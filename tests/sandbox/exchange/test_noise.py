from hypothesis import given
from hypothesis import strategies as st

from sandbox.exchange.noise import Noise, mix

coordinates = st.integers(min_value=0, max_value=10**9)


def test_mixing_depends_on_every_part_and_its_place() -> None:
    assert mix(1, 2) != mix(2, 1)
    assert mix(1, 2) == mix(1, 2)
    assert 0 <= mix(-5, 10**30) < 2**64


@given(coordinates, st.lists(coordinates, max_size=5))
def test_a_value_does_not_depend_on_what_was_asked_before(x: int, before: list[int]) -> None:
    octaves = ((7, 100), (1000, 5000))
    used = Noise(3, octaves)
    for other in before:
        used.at(other)
    assert used.at(x) == Noise(3, octaves).at(x)


@given(coordinates)
def test_values_and_slopes_are_bounded(x: int) -> None:
    noise = Noise(5, ((10, 100), (100, 300)))
    assert 0 <= noise.at(x) <= 400
    assert abs(noise.at(x + 1) - noise.at(x)) <= 100 // 10 + 300 // 100 + 2
