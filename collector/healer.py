"""The healer: asks REST for missing ids until each hole has an end.

Workers take the most urgent hole, one a symbol: the newest first (by the minute), of these the
smallest. A hole is left alone for a moment: ids may come late. What REST gives is delivered like
any line, and continuity closes the hole; what it does not have is settled here.

Retry policy: what may pass (no answer, 5xx, an answer that makes no sense, ids that REST does not
have yet) is asked again with back-off, for an hour at most; what REST refuses (4xx) is handed over
to repair_gaps at once, which has another source. 429 and 418 only make the client wait.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from collector.backoff import backoff
from collector.continuity import Continuity, Hole, without
from collector.history import (
    AGGREGATES,
    ENDPOINTS,
    PAGE,
    Aggregate,
    Endpoint,
    Item,
    aggregates_between,
    aggregates_left_out,
    gaps_in,
    lines_of,
    neighbours,
    page_from,
    trades_left_out,
)
from collector.hole_records import Outcome, Part
from collector.rest import ExchangeError, Rest, UnavailableError
from collector.runs import Range

log = logging.getLogger(__name__)

# An answer takes Binance 0.1 s or more; four at once keep within the budget and 30 s.
WORKERS: Final = 4
# A large hole is left after so many pages when another one has become more urgent.
PAGES_A_LOOK: Final = 10
# REST is behind the streams by seconds; what it does not have after so many looks will not come.
MAX_LOOKS: Final = 6
# The exchange's REST has been away for so long: repair_gaps has another source.
GIVE_UP_SECONDS: Final = 3600
# How long an endpoint that refuses us is not asked again.
REFUSED_SECONDS: Final = 600.0
_IDLE_SECONDS: Final = 0.2
_MINUTE: Final = 60_000_000


class Desk(Protocol):
    """What the healer needs of the service."""

    def has_room(self) -> bool:
        """Tell whether the spool takes more."""

    def deliver(self, channel: str, symbol: str, lines: Sequence[bytes], time: int) -> None:
        """Take lines from REST, received at `time` (µs since 1970)."""

    def settle(self, hole: Hole, parts: Sequence[Part]) -> None:
        """Close a hole: the parts have not come, the rest of it has."""


@dataclass(slots=True)
class _Case:
    """A hole that is being looked at, and what has been found out of what is missing."""

    hole: Hole
    looks: int = 0
    waits: Iterator[float] = field(
        default_factory=lambda: backoff(random.SystemRandom(), first=2.0, cap=60.0)
    )
    retry_at: float = 0.0
    parts: list[Part] = field(default_factory=list)

    @property
    def open(self) -> list[Range]:
        """What is missing and not settled yet."""
        left = list(self.hole.missing)
        for part in self.parts:
            left = list(without(left, part.ids))
        return left


class Healer:
    """Heals the open holes of a collector.

    Args:
        continuity: knows the holes.
        rest: asks the exchange.
        desk: takes what was found.
        grace: seconds that a hole is left alone.
        now: µs since 1970.
    """

    def __init__(
        self,
        continuity: Continuity,
        rest: Rest,
        desk: Desk,
        *,
        grace: float,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._continuity = continuity
        self._rest = rest
        self._desk = desk
        self._grace = int(grace * 1_000_000)
        self._now = now
        self._busy: set[tuple[str, str]] = set()
        self._cases: dict[tuple[str, str, int], _Case] = {}
        self._refused: dict[str, tuple[float, str]] = {}

    async def run(self) -> None:
        """Heal until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(), name=f"healer-{number}")

    async def _work(self) -> None:
        while True:
            case = self._take()
            if case is None:
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            key = (case.hole.channel, case.hole.symbol)
            self._busy.add(key)
            try:
                await self._look(case)
            finally:
                self._busy.discard(key)

    def _take(self) -> _Case | None:
        """Return the most urgent case that may be looked at now."""
        if not self._continuity.missing_ids or not self._desk.has_room():
            return None
        self._cases = {key: case for key, case in self._cases.items() if case.hole.missing}
        now = self._now()
        due = [
            hole
            for hole in self._continuity.holes()
            if hole.found_at + self._grace <= now
            and (hole.channel, hole.symbol) not in self._busy
            and ((case := self._cases.get(_key(hole))) is None or case.retry_at <= now)
        ]
        if not due:
            return None
        hole = min(due, key=_urgency)
        return self._cases.setdefault(_key(hole), _Case(hole))

    async def _look(self, case: _Case) -> None:
        """Look at a hole once; afterwards it is closed, or waits for the next look."""
        hole = case.hole
        endpoint = ENDPOINTS[hole.channel]
        until, why = self._refused.get(endpoint.path, (0.0, ""))
        if self._now() < until:
            self._end(case, Outcome.HANDED_OVER, why)
            return
        try:
            found = await self._ask(case, endpoint)
            if found is None:
                return
            why = found
            case.looks += 1
        except ExchangeError as error:
            if error.status != 400:  # it is the endpoint that is refused, not this symbol
                until = self._now() + REFUSED_SECONDS * 1_000_000
                self._refused[endpoint.path] = (until, str(error))
            self._end(case, Outcome.HANDED_OVER, str(error))
            return
        except (UnavailableError, ValueError) as error:
            why = str(error)
            if self._now() > hole.found_at + GIVE_UP_SECONDS * 1_000_000:
                self._end(case, Outcome.HANDED_OVER, why)
                return
        if hole.missing and (not case.open or case.looks >= MAX_LOOKS):
            self._end(case, Outcome.FAILED, why)
        elif hole.missing:
            wait = next(case.waits)
            case.retry_at = self._now() + wait * 1_000_000
            log.warning("%s; next look in %.0f s: %s", _words(hole), wait, why)

    def _end(self, case: _Case, outcome: Outcome, why: str) -> None:
        """Close a hole: what is neither there nor settled has this outcome."""
        hole = case.hole
        if not hole.missing:
            return  # it came in the meantime
        parts = [
            replace(part, ids=ids) for part in case.parts for ids in _both(hole.missing, part.ids)
        ]
        if left := [Part(ids, outcome, detail=why) for ids in case.open]:
            log.error("%s: %s: %s", _words(hole), outcome, why)
        self._desk.settle(hole, [*parts, *left])

    async def _ask(self, case: _Case, endpoint: Endpoint) -> str | None:
        """Page through a hole; return why something is still missing, as far as is known.

        None when there are more pages, and other holes should have their turn.
        """
        symbol, why = case.hole.symbol, f"{endpoint.path} has nothing behind them yet"
        before: list[Item] = []
        cursor, pages = self._first_page(case), 0
        while ahead := [max(start, cursor) for start, end in case.open if end >= cursor]:
            if pages == PAGES_A_LOOK:
                return None
            if pages and ahead[0] != cursor:
                cursor, before = ahead[0], []
            pages += 1
            page = await self._page(endpoint, page_from(symbol, cursor))
            self._deliver(case.hole, page)
            if page and page[0].item_id > ahead[0] and not before:
                before = await self._page(endpoint, page_from(symbol, max(ahead[0] - 1, 0), 1))
            why = await self._settle(case, [*before, *page]) or why
            if len(page) < PAGE:
                break
            before, cursor = page[-1:], page[-1].item_id + 1
        return why

    def _first_page(self, case: _Case) -> int:
        """Return the id that the first page begins with.

        The page costs the same whatever is on it: where it can hold this hole and holes of the
        symbol before it, it begins with the first of them.
        """
        hole, first, last = case.hole, case.open[0][0], case.open[-1][1]
        return min(
            (
                start
                for other in self._continuity.holes()
                if (other.channel, other.symbol) == (hole.channel, hole.symbol)
                for start, _ in other.missing
                if last - PAGE < start < first
            ),
            default=first,
        )

    async def _settle(self, case: _Case, rows: Sequence[Item]) -> str:
        """Settle what rows that follow each other leave out; return what is in doubt."""
        hole, doubt = case.hole, ""
        for row in rows:
            if isinstance(row, Aggregate) and row.is_invalid and self._is_missing(hole, row):
                said = f"aggTrades marks aggregate {row.a} as invalid"
                case.parts.append(Part((row.a, row.a), Outcome.ABSENT, said))
        for gap in gaps_in(rows, case.open):
            before, behind = neighbours(rows, gap)
            said = f"{hole.channel}s have {before.item_id} and {behind.item_id}, nothing in between"
            if hole.channel == "aggTrade":
                proof = aggregates_left_out(gap, rows)
            else:
                asked = aggregates_between(hole.symbol, before, behind)
                proof = trades_left_out(gap, await self._page(AGGREGATES, asked))
            if proof is None:
                doubt = f"REST: {said}, but the aggregates do not confirm that"
            else:
                case.parts.append(Part(gap, Outcome.ABSENT, f"REST: {said}; {proof}"))
        return doubt

    async def _page(self, endpoint: Endpoint, parameters: dict[str, str]) -> list[Item]:
        body = await self._rest.get(endpoint.path, parameters, endpoint.weight)
        try:
            return endpoint.parse(body, int(parameters.get("fromId", 0)))
        except ValueError as error:
            raise ValueError(f"{endpoint.path}: {error}, was {body[:100]!r}") from error

    def _deliver(self, hole: Hole, page: Sequence[Item]) -> None:
        """Hand over what is missing of a page, also in other holes of the symbol."""
        wanted = [
            row
            for row in page
            if self._is_missing(hole, row) and not (isinstance(row, Aggregate) and row.is_invalid)
        ]
        if wanted:
            now = self._now()
            lines = list(lines_of(hole.channel, hole.symbol, wanted, now))
            self._desk.deliver(hole.channel, hole.symbol, lines, now)

    def _is_missing(self, hole: Hole, row: Item) -> bool:
        return self._continuity.is_missing(hole.channel, hole.symbol, row.item_id)


def _key(hole: Hole) -> tuple[str, str, int]:
    return hole.channel, hole.symbol, hole.first_id


def _urgency(hole: Hole) -> tuple[int, int]:
    return -(hole.found_at // _MINUTE), hole.size


def _both(ranges: Iterable[Range], other: Range) -> list[Range]:
    """Return what ranges have in common with another one."""
    first, last = other
    return [
        (max(start, first), min(end, last))
        for start, end in ranges
        if start <= last and end >= first
    ]


def _words(hole: Hole) -> str:
    return (
        f"{hole.channel} of {hole.symbol}: {hole.size} ids missing from {hole.first_id} to"
        f" {hole.last_id} ({hole.cause})"
    )
