"""Incidents are told exactly once when they open and once when they are over."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.market_ops.stream.decisions import DECISIONS, Cause, Stage
from plugins.market_ops.stream.incidents import (
    KEPT,
    Incident,
    State,
    advance,
    reports,
    state_of_json,
    state_to_json,
    told,
)
from plugins.market_ops.stream.judge import Fault, Judgement
from tests.plugins.stream.samples import NOW

STAGES = {rule.cause: rule.stage for rule in DECISIONS}


def judgement(at_fault: set[Cause], undecided: set[Cause] | None = None) -> Judgement:
    faults = tuple(Fault(cause, STAGES[cause], f"{cause}!", "mend it") for cause in at_fault)
    return Judgement(faults, frozenset(undecided or ()) - frozenset(at_fault), starts_job=False)


CAUSES = st.sets(st.sampled_from(Cause), max_size=4)
LOOKS = st.lists(st.tuples(CAUSES, CAUSES).map(lambda pair: judgement(*pair)), max_size=40)


@given(LOOKS)
def test_each_incident_is_told_once_at_opening_and_once_at_clearing(looks: list[Judgement]) -> None:
    known: tuple[Incident, ...] = ()
    opened: list[str] = []
    cleared: list[str] = []
    is_open: set[Cause] = set()
    for number, look in enumerate(looks):
        at = NOW + timedelta(minutes=2 * number)
        known, notices = advance(known, look, at)
        faults = {fault.cause for fault in look.faults}
        news = [f"{STAGES[c]} at fault: {c.replace('_', ' ')}" for c in faults - is_open]
        over = is_open - faults - look.undecided
        ends = [f"{STAGES[c]} is well again: {c.replace('_', ' ')} is over" for c in over]
        assert sorted(notice.subject for notice in notices) == sorted(news + ends)
        is_open = (is_open | faults) - over
        opened += [each for notice in notices for each in _ids(notice.body, "since")]
        cleared += [each for notice in notices for each in _ids(notice.body, "after")]
        assert {each.cause for each in State(incidents=known).open} == is_open
    assert len(set(opened)) == len(opened)
    assert len(set(cleared)) == len(cleared)
    assert set(cleared) <= set(opened)
    still_open = {each.id for each in State(incidents=known).open}
    assert set(opened) - set(cleared) == still_open


def _ids(body: str, word: str) -> list[str]:
    return [line.split("(")[1].rstrip(")") for line in body.splitlines() if line.startswith(word)]


@given(LOOKS)
def test_what_is_remembered_survives_the_store(looks: list[Judgement]) -> None:
    known: tuple[Incident, ...] = ()
    for number, look in enumerate(looks):
        known, _ = advance(known, look, NOW + timedelta(minutes=number))
    state = State(looked_at=NOW, summary={"job": "runs"}, incidents=known)
    assert state_of_json(json.loads(json.dumps(state_to_json(state)))) == state


def test_an_open_incident_says_what_was_seen_last() -> None:
    known, _ = advance((), judgement({Cause.JOB_DOWN}), NOW)
    later = Judgement(
        (Fault(Cause.JOB_DOWN, Stage.JOB, "worse", "mend it"),), frozenset(), starts_job=False
    )
    known, notices = advance(known, later, NOW + timedelta(minutes=2))
    (incident,) = known
    assert (incident.sentence, incident.opened_at, notices) == ("worse", NOW, [])


def test_what_cannot_be_judged_stays_open() -> None:
    known, _ = advance((), judgement({Cause.IDS_MISSING}), NOW)
    known, notices = advance(
        known, judgement({Cause.WAREHOUSE_AWAY}, {Cause.IDS_MISSING}), NOW + timedelta(minutes=2)
    )
    assert {each.cause for each in State(incidents=known).open} == {
        Cause.IDS_MISSING,
        Cause.WAREHOUSE_AWAY,
    }
    assert [notice.subject for notice in notices] == ["warehouse at fault: warehouse away"]


def test_what_is_over_is_kept_for_a_while() -> None:
    known: tuple[Incident, ...] = ()
    for number in range(2 * KEPT + 3):
        faults = {Cause.JOB_DOWN} if number % 2 == 0 else set()
        known, _ = advance(known, judgement(faults), NOW + timedelta(minutes=number))
    assert len(known) == KEPT + 1
    assert known[0].cleared_at is None
    assert known[1].opened_at == NOW + timedelta(minutes=2 * KEPT)


def test_messages_say_what_since_when_and_what_to_do() -> None:
    known, (notice,) = advance((), judgement({Cause.JOB_DOWN}), NOW)
    assert notice.body == (
        "job_down!\nsince 2026-11-22 12:00Z (job_down-20261122T120000Z)\nDo: mend it"
    )
    assert reports(known) == {"job": told(known[0])}
    _, (notice,) = advance(known, judgement(set()), NOW + timedelta(minutes=7))
    assert notice.body == "after 7 minutes (job_down-20261122T120000Z)\nwas: job_down!"


@pytest.mark.parametrize("value", [{"incidents": []}, {"looked_at": 5}, {"looked_at": None}, [1]])
def test_a_variable_that_somebody_changed_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match="market_ops_stream: expected what watch_stream wrote"):
        state_of_json(value)


def test_without_a_variable_nothing_is_known() -> None:
    assert state_of_json(None) == State()
