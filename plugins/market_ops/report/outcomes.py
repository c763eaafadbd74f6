"""What became of missing ids: holes of the marts beside what `ops.holes` has recorded. Pure.

The newest row of an id counts. What no row speaks of is open, if the marts show it as a hole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ..repair.holes import ABSENT, FAILED, HEALED, Range, without
from .facts import Facts, Hole, Repair

HANDED_OVER: Final = "handed_over"
OPEN: Final = "open"
UNPUBLISHED: Final = "unpublished"
# The worst first: a hole of several outcomes is called by the worst of them.
_ORDER: Final = (OPEN, FAILED, HANDED_OVER, HEALED, ABSENT)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A range of ids, first and last inclusive, with one outcome.

    Attributes:
        outcome: healed, absent_at_source, failed, handed_over or open.
        cause: why they were missing, as the collector knows it.
        by: the run of repair_gaps, or the collector and its epoch; empty when it is open.
        source: where the trades came from.
        said: witnesses of an absence, or why it failed.
        is_missing: the marts still show a hole there.
    """

    market: str
    symbol: str
    first_id: int
    last_id: int
    outcome: str
    cause: str = ""
    by: str = ""
    source: str = ""
    said: str = ""
    found_at: datetime | None = None
    closed_at: datetime | None = None
    is_missing: bool = True

    @property
    def missing(self) -> int:
        """Number of ids."""
        return self.last_id - self.first_id + 1


def outcomes(facts: Facts) -> list[Outcome]:
    """Return what became of each id, the worst first, then the largest."""
    told: dict[tuple[str, str], list[Repair]] = defaultdict(list)
    for repair in sorted(facts.repairs or (), key=lambda row: row.found_at, reverse=True):
        told[repair.market, repair.symbol].append(repair)
    holes: dict[tuple[str, str], list[Range]] = defaultdict(list)
    for hole in facts.holes:
        if not hole.is_unpublished:
            holes[hole.market, hole.symbol].append((hole.first_missing_id, hole.last_missing_id))
    found: list[Outcome] = []
    for key in told.keys() | holes.keys():
        found += _of_symbol(*key, told[key], holes[key])
    return sorted(
        found, key=lambda row: (_rank(row.outcome), -row.missing, row.symbol, row.first_id)
    )


def _of_symbol(
    market: str, symbol: str, newest_first: Iterable[Repair], holes: list[Range]
) -> Iterable[Outcome]:
    taken: list[Range] = []
    for repair in newest_first:
        whole = repair.first_missing_id, repair.last_missing_id
        for piece in without(whole, taken):
            yield Outcome(
                market=market,
                symbol=symbol,
                first_id=piece[0],
                last_id=piece[1],
                outcome=repair.outcome,
                cause=repair.cause,
                by=repair.run_id,
                source=repair.source,
                said=repair.witnesses or repair.detail,
                found_at=repair.found_at,
                closed_at=repair.closed_at,
                is_missing=any(_meet(piece, hole) for hole in holes),
            )
        taken.append(whole)
    for hole in holes:
        for first, last in without(hole, taken):
            yield Outcome(market=market, symbol=symbol, first_id=first, last_id=last, outcome=OPEN)


def lost(facts: Facts) -> list[Hole]:
    """Return the holes without what the exchange never published and what is absent there."""
    absent: dict[tuple[str, str], list[Range]] = defaultdict(list)
    for each in absences(facts):
        absent[each.market, each.symbol].append((each.first_id, each.last_id))
    return [
        replace(hole, first_missing_id=first, last_missing_id=last, missing=last - first + 1)
        for hole in facts.holes
        if not hole.is_unpublished
        for first, last in without(
            (hole.first_missing_id, hole.last_missing_id),
            absent[hole.market, hole.symbol],
        )
    ]


def absences(facts: Facts) -> list[Outcome]:
    """Return the ids that are missing here and absent at the source."""
    return [row for row in outcomes(facts) if row.outcome == ABSENT and row.is_missing]


def outcome_of(hole: Hole, found: Iterable[Outcome]) -> str:
    """Return in one word what became of a hole: the worst of its parts.

    Args:
        hole: the hole.
        found: outcomes of its symbol.
    """
    if hole.is_unpublished:
        return UNPUBLISHED
    whole = hole.first_missing_id, hole.last_missing_id
    words = {each.outcome for each in found if _meet((each.first_id, each.last_id), whole)}
    return min(words, key=_rank, default=OPEN)


def _meet(one: Range, other: Range) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _rank(outcome: str) -> int:
    return _ORDER.index(outcome) if outcome in _ORDER else 0
