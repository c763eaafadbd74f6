from itertools import pairwise

import pytest

from sandbox.chaos.draw import CATALOGUE, KILLED, draw_kills, draw_script
from sandbox.chaos.plan import KILLABLE
from sandbox.faults.script import BROKER, KINDS, parse_script


@pytest.mark.parametrize("seed", range(1, 41))
def test_a_seed_is_a_right_script_and_always_the_same(seed: int) -> None:
    script = draw_script(seed, 40.0)
    assert parse_script(script.text) == script == draw_script(seed, 40.0)
    assert 3 <= len(script.injections) <= 17
    assert script.lasts_seconds <= 40.0 + 8.0
    kills = [each.seconds for each in script.injections if each.what == "kill"]
    assert kills == sorted(kills)  # type: ignore[type-var]
    delisted = [each for each in script.injections if each.what == "delist"]
    listed = [each for each in script.injections if each.what == "list"]
    assert len(delisted) == len(listed)


def test_hundred_seeds_draw_every_kind() -> None:
    drawn = {each.what for seed in range(100) for each in draw_script(seed, 40.0).injections}
    assert drawn == {*CATALOGUE, "list"}
    assert drawn <= KINDS.keys()


def test_kinds_that_are_not_drawn_are_known() -> None:
    assert KINDS.keys() - CATALOGUE.keys() == {"list"}  # drawn with the delisting
    assert set(KILLED) < set(KILLABLE)  # tables in memory are lost with BigQuery


def test_a_broker_that_is_starting_again_is_left_alone() -> None:
    met = 0
    for seed in range(400):
        injections = draw_script(seed, 40.0).injections
        ended = [e.seconds or 0 for e in injections if e.parameters.get("process") == "pubsub"]
        struck = [each.seconds or 0 for each in injections if each.place == BROKER]
        assert not any(0 <= at - end < 15 for end in ended for at in struck)
        met += bool(ended and struck)
    assert met > 5


def test_kills_are_apart() -> None:
    for seed in range(30):
        script = draw_kills(seed, 40.0, "job")
        assert script == draw_kills(seed, 40.0, "job")
        times = [each.seconds or 0.0 for each in script.injections]
        assert 1 <= len(times) <= 3
        assert all(later - before >= 15.0 for before, later in pairwise(times))
        assert {each.parameters["process"] for each in script.injections} == {"job"}
