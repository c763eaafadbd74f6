"""Judge: what is wrong and whose fault it is, from what a look saw. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .decisions import DECISIONS, Cause, Stage, decide
from .observations import Observations
from .signals import signals_of
from .words import REMEDIES, sentence_of


@dataclass(frozen=True)
class Fault:
    """What is wrong, in words.

    Attributes:
        cause: what is wrong.
        stage: whose fault it is.
        sentence: what was seen.
        remedy: what to do first.
    """

    cause: Cause
    stage: Stage
    sentence: str
    remedy: str


@dataclass(frozen=True)
class Judgement:
    """What a look found.

    Attributes:
        faults: what is wrong, in the order of the decision table.
        undecided: causes that can't be judged now; what was told of them stands.
        starts_job: the Dataflow job should be started.
    """

    faults: tuple[Fault, ...]
    undecided: frozenset[Cause]
    starts_job: bool


def judge(seen: Observations) -> Judgement:
    """Name the stages at fault."""
    causes, undecided = decide(signals_of(seen))
    faults = tuple(
        Fault(rule.cause, rule.stage, sentence_of(rule.cause, seen), REMEDIES[rule.cause])
        for rule in DECISIONS
        if rule.cause in causes
    )
    return Judgement(faults, undecided, Cause.JOB_DOWN in causes and seen.job.may_start)
