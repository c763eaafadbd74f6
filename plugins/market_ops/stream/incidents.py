"""Incidents: told once when they open and once when they are over. Pure but for the store.

The store is an Airflow Variable, not a table: the warehouse is one of the things that can be at
fault, and what was told must not be forgotten with it. One run at a time reads and writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from .decisions import Cause, Stage
from .judge import Judgement

VARIABLE: Final = "market_ops_stream"
# Incidents that are over are kept for the page.
KEPT: Final = 30


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that is or was wrong.

    Attributes:
        id: cause and opening time.
        cause: what is wrong.
        stage: whose fault it is.
        opened_at: when it was seen first.
        cleared_at: when it was seen to be over; None while it is open.
        sentence: what was seen, as of the last look that saw it.
        remedy: what to do first.
    """

    id: str
    cause: Cause
    stage: Stage
    opened_at: datetime
    cleared_at: datetime | None = None
    sentence: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class State:
    """What is remembered from look to look.

    Attributes:
        looked_at: time of the last look; None before the first.
        summary: what it saw, one line a stage.
        incidents: open ones, then those that are over, newest first.
    """

    looked_at: datetime | None = None
    summary: Mapping[str, str] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()

    @property
    def open(self) -> list[Incident]:
        """Incidents that are not over."""
        return [incident for incident in self.incidents if incident.cleared_at is None]


@dataclass(frozen=True)
class Notice:
    """A message to people."""

    subject: str
    body: str


def advance(
    known: Sequence[Incident], judgement: Judgement, at: datetime
) -> tuple[tuple[Incident, ...], list[Notice]]:
    """Return the incidents after a look, and what to tell.

    An incident is over when it could be judged and was not seen; while it can't be judged, it
    stays as it is.

    Args:
        known: incidents before the look.
        judgement: what the look found.
        at: time of the look.
    """
    faults = {fault.cause: fault for fault in judgement.faults}
    opened: list[Incident] = []
    over: list[Incident] = []
    notices: list[Notice] = []
    past = [incident for incident in known if incident.cleared_at is not None]
    for incident in known:
        if incident.cleared_at is not None:
            continue
        fault = faults.pop(incident.cause, None)
        if fault is not None:
            opened.append(replace(incident, sentence=fault.sentence))
        elif incident.cause in judgement.undecided:
            opened.append(incident)
        else:
            cleared = replace(incident, cleared_at=at)
            over.append(cleared)
            notices.append(_clearing(cleared))
    for fault in faults.values():
        incident = Incident(
            id=f"{fault.cause}-{at:%Y%m%dT%H%M%SZ}",
            cause=fault.cause,
            stage=fault.stage,
            opened_at=at,
            sentence=fault.sentence,
            remedy=fault.remedy,
        )
        opened.append(incident)
        notices.append(_opening(incident))
    return (*opened, *over, *past)[: len(opened) + KEPT], notices


def told(incident: Incident) -> str:
    """Say what is wrong and what to do, as a stage's task fails with it."""
    return (
        f"{incident.sentence}\nsince {incident.opened_at:%Y-%m-%d %H:%MZ} ({incident.id})"
        f"\nDo: {incident.remedy}"
    )


def reports(incidents: Sequence[Incident]) -> dict[str, str]:
    """Return what to say of each stage at fault."""
    texts: dict[str, list[str]] = {}
    for incident in incidents:
        texts.setdefault(str(incident.stage), []).append(told(incident))
    return {stage: "\n\n".join(lines) for stage, lines in texts.items()}


def _opening(incident: Incident) -> Notice:
    return Notice(f"{incident.stage} at fault: {incident.cause.replace('_', ' ')}", told(incident))


def _clearing(incident: Incident) -> Notice:
    assert incident.cleared_at is not None  # noqa: S101 # the caller has just set it
    minutes = int((incident.cleared_at - incident.opened_at).total_seconds()) // 60
    return Notice(
        f"{incident.stage} is well again: {incident.cause.replace('_', ' ')} is over",
        f"after {minutes} minutes ({incident.id})\nwas: {incident.sentence}",
    )


def state_to_json(state: State) -> dict[str, Any]:
    """Return the state as JSON has it."""
    return {
        "looked_at": state.looked_at and state.looked_at.isoformat(),
        "summary": dict(state.summary),
        "incidents": [
            {
                **asdict(incident),
                "opened_at": incident.opened_at.isoformat(),
                "cleared_at": incident.cleared_at and incident.cleared_at.isoformat(),
            }
            for incident in state.incidents
        ],
    }


def state_of_json(value: Mapping[str, Any] | None) -> State:
    """Return the state from JSON; without any it is empty.

    Raises:
        ValueError: it is not what `state_to_json` makes.
    """
    if not value:
        return State()
    try:
        return State(
            looked_at=_time(value["looked_at"]),
            summary=value["summary"],
            incidents=tuple(
                Incident(
                    **{
                        **each,
                        "cause": Cause(each["cause"]),
                        "stage": Stage(each["stage"]),
                        "opened_at": datetime.fromisoformat(each["opened_at"]),
                        "cleared_at": _time(each["cleared_at"]),
                    }
                )
                for each in value["incidents"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Variable {VARIABLE}: expected what watch_stream wrote, was {value!r}; delete it, and"
            " open incidents are told once more"
        ) from error


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def read_state() -> State:
    """Read the state.

    Raises:
        ValueError: somebody else changed it.
    """
    from airflow.sdk import Variable

    return state_of_json(Variable.get(VARIABLE, default=None, deserialize_json=True))


def write_state(state: State) -> None:
    """Write the state."""
    from airflow.sdk import Variable

    Variable.set(VARIABLE, state_to_json(state), serialize_json=True)
