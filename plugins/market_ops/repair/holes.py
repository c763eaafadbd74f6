"""Holes: which missing ids to fetch now, and what may be said of them afterwards. Pure.

An id is absent at the source when two witnesses agree: a source that knows trades on both sides of
it does not know it, and consecutive aggregate trades leave it out (aggregate ids have no hole
either, so nothing stood between them).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

HEALED: Final = "healed"
ABSENT: Final = "absent_at_source"
FAILED: Final = "failed"

# Marts built before the frames were loaded still show the hole.
HEALED_REST: Final = timedelta(hours=1)
FIRST_PAUSE: Final = timedelta(hours=1)
LONGEST_PAUSE: Final = timedelta(days=1)

Range = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A range of missing trade ids, first and last inclusive.

    Attributes:
        symbol: symbol as Binance spells it.
        first_id: first missing id.
        last_id: last missing id.
        before: time of the trade before it; None when nobody knows.
        after: time of the trade behind it; None when nobody knows.
        is_news: no earlier attempt at any of its ids failed.
    """

    symbol: str
    first_id: int
    last_id: int
    before: datetime | None = None
    after: datetime | None = None
    is_news: bool = True

    @property
    def missing(self) -> int:
        """Number of missing ids."""
        return self.last_id - self.first_id + 1


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An earlier attempt at a range of ids, as `ops.holes` has it."""

    symbol: str
    first_id: int
    last_id: int
    outcome: str
    found_at: datetime


class SourceTrade(NamedTuple):
    """A trade as REST or the archive gives it; numbers are the source's own texts.

    `time` is a count of ms or µs since 1970, as the source has it.
    """

    id: int
    price: str
    quantity: str
    time: int
    is_buyer_maker: bool
    is_best_match: bool


class Aggregate(NamedTuple):
    """An aggregate trade: its own id, and the trade ids that it stands for."""

    id: int
    first_id: int
    last_id: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """What became of a part of a hole: one outcome for all of its ids."""

    first_id: int
    last_id: int
    outcome: str
    witnesses: str = ""
    detail: str = ""


def plan(
    holes: Iterable[Hole],
    attempts: Sequence[Attempt],
    now: datetime,
    *,
    max_holes: int,
    max_ids: int,
) -> list[Hole]:
    """Return what to fetch in this run: the newest day's holes first, small ones before large ones.

    Ids that are absent for good, were healed just now, or failed and should rest are left out.
    The last hole may be cut to what is left of `max_ids`; the next run finds the rest.
    """
    due = [piece for hole in holes for piece in _due(hole, attempts, now)]
    due.sort(key=lambda hole: (-_day(hole), hole.missing, hole.symbol, hole.first_id))
    chosen: list[Hole] = []
    for hole in due[:max_holes]:
        left = max_ids - sum(each.missing for each in chosen)
        if left <= 0:
            break
        last_id = min(hole.last_id, hole.first_id + left - 1)
        chosen.append(replace(hole, last_id=last_id))
    return chosen


def _day(hole: Hole) -> int:
    return hole.after.toordinal() if hole.after else 0


def _due(hole: Hole, attempts: Sequence[Attempt], now: datetime) -> list[Hole]:
    concerned = [
        each
        for each in attempts
        if each.symbol == hole.symbol
        and each.first_id <= hole.last_id
        and each.last_id >= hole.first_id
    ]
    failures = [each for each in concerned if each.outcome == FAILED]
    resting = [(each.first_id, each.last_id) for each in concerned if _rests(each, failures, now)]
    pieces = without((hole.first_id, hole.last_id), resting)
    return [
        replace(hole, first_id=first, last_id=last, is_news=not failures) for first, last in pieces
    ]


def _rests(attempt: Attempt, failures: Sequence[Attempt], now: datetime) -> bool:
    if attempt.outcome == ABSENT:
        return True
    if attempt.outcome == HEALED:
        return now < attempt.found_at + HEALED_REST
    same = sum(
        each.first_id <= attempt.last_id and each.last_id >= attempt.first_id for each in failures
    )
    pause: timedelta = min(FIRST_PAUSE * 2 ** min(same - 1, 10), LONGEST_PAUSE)
    return now < attempt.found_at + pause


def without(whole: Range, taken: Iterable[Range]) -> list[Range]:
    """Return what is left of a range when others are taken away; all inclusive, in order."""
    left: list[Range] = []
    start, end = whole
    for first, last in sorted(taken):
        if first > start:
            left.append((start, min(first - 1, end)))
        start = max(start, last + 1)
        if start > end:
            return left
    return [*left, (start, end)]


def runs(ids: Iterable[int]) -> list[Range]:
    """Return the ranges of consecutive ids, in order."""
    return merged((each, each) for each in ids)


def gaps(hole: Hole, trades: Iterable[SourceTrade]) -> list[Range]:
    """Return the ids of the hole that are in none of the trades."""
    return without((hole.first_id, hole.last_id), runs(trade.id for trade in trades))


def neighbours(
    gap: Range, trades: Iterable[SourceTrade]
) -> tuple[SourceTrade | None, SourceTrade | None]:
    """Return the source's trades next to a gap; None where it knows none."""
    known = list(trades)
    return (
        max((trade for trade in known if trade.id < gap[0]), default=None),
        min((trade for trade in known if trade.id > gap[1]), default=None),
    )


def left_out_by(gap: Range, aggregates: Iterable[Aggregate]) -> str | None:
    """Return how aggregates prove that a gap's ids were never traded; None when they do not."""
    ordered = sorted(set(aggregates))
    for one, other in pairwise(ordered):
        if one.id + 1 == other.id and one.last_id < gap[0] and gap[1] < other.first_id:
            return (
                f"aggregate {one.id} ends with trade {one.last_id},"
                f" {other.id} begins with {other.first_id}"
            )
    return None


def parts(hole: Hole, healed: Iterable[Range], absent: Iterable[Part], why: str) -> list[Part]:
    """Return the parts of a hole, in order; what is neither healed nor absent has failed.

    Args:
        hole: the hole.
        healed: ranges whose trades were loaded.
        absent: parts that are proven absent.
        why: a sentence for what has failed.
    """
    proven, there = list(absent), merged(healed)
    settled = [*there, *((each.first_id, each.last_id) for each in proven)]
    failed = without((hole.first_id, hole.last_id), settled)
    found = [
        *(Part(first_id=first, last_id=last, outcome=HEALED) for first, last in there),
        *proven,
        *(Part(first_id=first, last_id=last, outcome=FAILED, detail=why) for first, last in failed),
    ]
    return sorted(found, key=lambda part: part.first_id)


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges joined where they touch or overlap, in order."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found
