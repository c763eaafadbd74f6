"""The decision table: from signals to the stage at fault. Pure.

It has two kinds of rows. A **fact** is what a part says or shows of itself: it does not answer, it
is not running. Facts are always named. An **inference** follows from silence, lag or loss in the
ledgers; it needs a clear sight, so its row also says what must be well for it to be judged at all.
Without that sight it is undecided, and what was told before stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .observations import JobState


class Stage(StrEnum):
    """Where a fault is: the five stages in the way of a trade, and what is lost already."""

    EXCHANGE = "exchange"
    COLLECTOR = "collector"
    BROKER = "broker"
    JOB = "job"
    WAREHOUSE = "warehouse"
    HOLES = "holes"


class Cause(StrEnum):
    """What is wrong; docs/monitoring.md has an entry for each."""

    EXCHANGE_AWAY = "exchange_away"
    EXCHANGE_SILENT = "exchange_silent"
    COLLECTOR_AWAY = "collector_away"
    COLLECTOR_DISCONNECTED = "collector_disconnected"
    COLLECTOR_FAILING = "collector_failing"
    COLLECTOR_DEAF = "collector_deaf"
    SYMBOLS_STALE = "symbols_stale"
    BROKER_AWAY = "broker_away"
    BROKER_BEHIND = "broker_behind"
    JOB_DOWN = "job_down"
    JOB_BEHIND = "job_behind"
    FRAMES_MISSING = "frames_missing"
    WAREHOUSE_AWAY = "warehouse_away"
    IDS_MISSING = "ids_missing"


class Collectors(StrEnum):
    """The worst state of the collectors, worst first."""

    AWAY = "away"
    FAILING = "failing"
    DISCONNECTED = "disconnected"
    STARTING = "starting"
    OK = "ok"
    UNWATCHED = "unwatched"


class Exchange(StrEnum):
    """Does REST answer?"""

    OK = "ok"
    AWAY = "away"


class Broker(StrEnum):
    """Does the subscription exist, and does the topic take what is made?"""

    OK = "ok"
    BEHIND = "behind"
    AWAY = "away"


class Warehouse(StrEnum):
    """Does BigQuery answer?"""

    OK = "ok"
    AWAY = "away"


class Flow(StrEnum):
    """What frames do: arrive, wait before the warehouse, or are not made."""

    UNKNOWN = "unknown"
    MOVING = "moving"
    STUCK = "stuck"
    SILENT = "silent"


class Witness(StrEnum):
    """Has the exchange traded on in symbols that are silent here?"""

    EVEN = "even"
    AHEAD = "ahead"
    UNKNOWN = "unknown"


class Ledger(StrEnum):
    """Are numbers missing although later ones are there?"""

    CLOSED = "closed"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What the decision table looks at."""

    collector: Collectors
    exchange: Exchange
    broker: Broker
    job: JobState
    warehouse: Warehouse
    flow: Flow
    witness: Witness
    frames: Ledger
    ids: Ledger


@dataclass(frozen=True)
class Rule:
    """A row of the decision table.

    Attributes:
        cause: what is wrong when the row applies.
        stage: whose fault it is.
        fault: signals and the values at which it is a fault.
        sight: signals and the values at which it can be judged at all; empty for facts.
    """

    cause: Cause
    stage: Stage
    fault: Mapping[str, Collection[StrEnum]]
    sight: Mapping[str, Collection[StrEnum]]


_LIVE: Final = {JobState.RUNNING, JobState.UNWATCHED}
_SEEN: Final = {Collectors.OK, Collectors.UNWATCHED}
# What must be well, so that a silence can only come from further up.
_CLEAR: Final[Mapping[str, Collection[StrEnum]]] = {
    "collector": _SEEN,
    "broker": {Broker.OK},
    "job": _LIVE,
    "warehouse": {Warehouse.OK},
}

DECISIONS: Final = (
    # facts
    Rule(
        Cause.WAREHOUSE_AWAY,
        Stage.WAREHOUSE,
        {"warehouse": {Warehouse.AWAY}},
        {},
    ),
    Rule(
        Cause.COLLECTOR_AWAY,
        Stage.COLLECTOR,
        {"collector": {Collectors.AWAY}},
        {},
    ),
    Rule(
        Cause.COLLECTOR_FAILING,
        Stage.COLLECTOR,
        {"collector": {Collectors.FAILING}},
        {},
    ),
    # Two witnesses: when REST is away too it is the exchange, else the collector's way to it.
    Rule(
        Cause.EXCHANGE_AWAY,
        Stage.EXCHANGE,
        {"collector": {Collectors.DISCONNECTED}, "exchange": {Exchange.AWAY}},
        {},
    ),
    Rule(
        Cause.COLLECTOR_DISCONNECTED,
        Stage.COLLECTOR,
        {"collector": {Collectors.DISCONNECTED}, "exchange": {Exchange.OK}},
        {},
    ),
    Rule(
        Cause.BROKER_AWAY,
        Stage.BROKER,
        {"broker": {Broker.AWAY}},
        {},
    ),
    Rule(
        Cause.BROKER_BEHIND,
        Stage.BROKER,
        {"broker": {Broker.BEHIND}},
        {},
    ),
    Rule(
        Cause.JOB_DOWN,
        Stage.JOB,
        {"job": {JobState.DOWN}},
        {},
    ),
    # inferences
    Rule(
        Cause.JOB_BEHIND,
        Stage.JOB,
        {"flow": {Flow.STUCK}},
        {"broker": {Broker.OK}, "job": _LIVE, "warehouse": {Warehouse.OK}},
    ),
    Rule(
        Cause.EXCHANGE_SILENT,
        Stage.EXCHANGE,
        {"flow": {Flow.SILENT}, "witness": {Witness.EVEN, Witness.UNKNOWN}},
        _CLEAR,
    ),
    Rule(
        Cause.COLLECTOR_DEAF,
        Stage.COLLECTOR,
        {"flow": {Flow.SILENT}, "witness": {Witness.AHEAD}},
        _CLEAR,
    ),
    Rule(
        Cause.SYMBOLS_STALE,
        Stage.COLLECTOR,
        {"witness": {Witness.AHEAD}},
        {**_CLEAR, "flow": {Flow.MOVING}, "witness": {Witness.EVEN, Witness.AHEAD}},
    ),
    Rule(
        Cause.FRAMES_MISSING,
        Stage.JOB,
        {"frames": {Ledger.OPEN}},
        {"job": _LIVE, "warehouse": {Warehouse.OK}, "flow": {Flow.MOVING, Flow.SILENT}},
    ),
    Rule(
        Cause.IDS_MISSING,
        Stage.HOLES,
        {"ids": {Ledger.OPEN}},
        {"warehouse": {Warehouse.OK}},
    ),
)


def decide(signals: Signals) -> tuple[frozenset[Cause], frozenset[Cause]]:
    """Return the causes at fault, and those that can't be judged."""
    visible = {rule.cause for rule in DECISIONS if _holds(rule.sight, signals)}
    faults = {rule.cause for rule in DECISIONS if _holds(rule.fault, signals)}
    return frozenset(faults & visible), frozenset(Cause) - visible


def _holds(conditions: Mapping[str, Collection[StrEnum]], signals: Signals) -> bool:
    return all(getattr(signals, name) in values for name, values in conditions.items())
