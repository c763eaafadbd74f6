"""The verdict of a day: one word, why, and what to do. Rules over facts, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .facts import Facts
from .outcomes import absences, lost
from .queries import end_of

COMPLETE: Final = "COMPLETE"
PROVISIONAL: Final = "PROVISIONAL"
INCOMPLETE: Final = "INCOMPLETE"


@dataclass(frozen=True)
class Reason:
    """Why a day is not complete: the word that follows, a sentence, and the remedy."""

    word: str
    why: str
    what_to_do: str


@dataclass(frozen=True)
class Verdict:
    """The verdict; `why` and `what_to_do` are those of the first reason, the worst one."""

    word: str
    why: str
    what_to_do: str
    reasons: tuple[Reason, ...]


def judge(facts: Facts, now: datetime) -> Verdict:
    """Return the verdict of a day.

    Args:
        facts: of the day.
        now: aware; decides whether the day is over.
    """
    reasons = tuple(reason for rule in _RULES for reason in rule(facts, now))
    if reasons:
        first = min(reasons, key=lambda reason: reason.word != INCOMPLETE)
        return Verdict(first.word, first.why, first.what_to_do, reasons)
    trades = sum(row.present for row in facts.completeness)
    why = (
        f"All {trades:,} trades of {_count(len(facts.completeness), 'symbol')} are here: their ids"
        " have no hole, and for each symbol it is known that no later one belongs to the day."
    )
    return Verdict(COMPLETE, why, "Nothing.", ())


def _is_empty(facts: Facts, now: datetime) -> Iterator[Reason]:
    if facts.completeness or now < end_of(facts.day):
        return
    yield Reason(
        INCOMPLETE,
        "The warehouse has no trade of this day.",
        "Run backfill_history for the day. If it should have been streamed, look at watch_stream"
        " first, then at build_marts: were the marts built since?",
    )


def _misses_trades(facts: Facts, now: datetime) -> Iterator[Reason]:
    holes = lost(facts)
    if not holes:
        return
    worst = max(holes, key=lambda hole: (hole.missing, hole.symbol))
    symbols = {(hole.market, hole.symbol) for hole in holes}
    missing = sum(hole.missing for hole in holes)
    yield Reason(
        INCOMPLETE,
        f"{_count(missing, 'trade')} of {_count(len(symbols), 'symbol')} that the exchange sent"
        f" {'is' if missing == 1 else 'are'} missing; the largest hole is {worst.symbol}, ids"
        f" {worst.first_missing_id} to {worst.last_missing_id}.",
        "Run repair_gaps for the day (it starts by itself when the marts show holes), then"
        " build_marts and this report again.",
    )


def _has_absences(facts: Facts, now: datetime) -> Iterator[Reason]:
    rows = absences(facts)
    if rows:
        yield Reason(
            PROVISIONAL,
            f"{_count(sum(row.missing for row in rows), 'trade id')}"
            f" ({_names(row.symbol for row in rows)}) were never traded, as two witnesses at the"
            " exchange say. Nothing of ours is lost; the marts still count them as missing.",
            "Nothing. The marts know it too once aggregate trades are loaded that leave these ids"
            " out.",
        )


def _lacks_holes(facts: Facts, now: datetime) -> Iterator[Reason]:
    holes = {(hole.market, hole.symbol) for hole in facts.holes if not hole.is_unpublished}
    rows = [
        row
        for row in facts.completeness
        if row.verdict == INCOMPLETE and (row.market, row.symbol) not in holes
    ]
    if rows:
        yield Reason(
            INCOMPLETE,
            f"market_completeness says {INCOMPLETE} for {_names(row.symbol for row in rows)}, and"
            " int_id_holes has no hole there: they are not of one build.",
            "Run build_marts, then this report again.",
        )


def _differs(facts: Facts, now: datetime) -> Iterator[Reason]:
    ours = sum(row.candles for row in facts.reconciliation if row.difference_class == "ours")
    if ours:
        yield Reason(
            INCOMPLETE,
            f"{_count(ours, 'candle')} {_differ(ours)} from Binance's although every trade is"
            " here: a mistake of this platform.",
            "Compare the candles listed under Reconciliation with the trades; the dbt test"
            " candles_differ_for_a_reason names field and values. Trust no mart of these symbols"
            " until it is mended.",
        )


def _contradicts(facts: Facts, now: datetime) -> Iterator[Reason]:
    rows = [row for row in facts.completeness if row.conflicts]
    if rows:
        conflicts = sum(row.conflicts for row in rows)
        yield Reason(
            INCOMPLETE,
            f"{_count(conflicts, 'trade')} arrived with two prices or two quantities"
            f" ({_names(row.symbol for row in rows)}).",
            "The dbt test trade_copies_agree shows both copies; find out which source is wrong"
            " before you use the symbol.",
        )


def _fails_checks(facts: Facts, now: datetime) -> Iterator[Reason]:
    checks = facts.checks or ()
    failing = [check for check in checks if check.severity == "fail" and not check.is_over]
    if failing:
        first = min(failing, key=lambda check: (check.suite, check.expectation))
        yield Reason(
            INCOMPLETE,
            f"{_count(len(failing), 'check')} of severity fail failed"
            f" ({_names(f'{check.suite}.{check.expectation}' for check in failing)}) and no later"
            " one passed over the same time.",
            f"{first.remedy} Then run check_quality for the day and this report again.",
        )


def _goes_on(facts: Facts, now: datetime) -> Iterator[Reason]:
    if now < end_of(facts.day):
        yield Reason(
            PROVISIONAL,
            f"The day is not over; this is what is known at {now:%H:%M} UTC.",
            "Nothing; the report of the whole day follows after midnight.",
        )


def _has_open_ends(facts: Facts, now: datetime) -> Iterator[Reason]:
    if now < end_of(facts.day):
        return
    ends = [row for row in facts.completeness if row.verdict == "PROVISIONAL" and not row.is_proven]
    quiet = [row for row in facts.silent if not row.is_proven]
    names = {row.symbol for row in ends} | {row.symbol for row in quiet}
    if names:
        yield Reason(
            PROVISIONAL,
            f"{_count(len(names), 'symbol')} ({_names(names)}) had no trade after the day yet, and"
            " no daily candle of Binance's proves the end, so trades may be missing there.",
            "Nothing at first: run this report again when they have traded and build_marts has run."
            " If it stays so, look at watch_stream: does the collector still follow them?",
        )


_Rule = Callable[[Facts, datetime], Iterable[Reason]]
_RULES: Final[tuple[_Rule, ...]] = (
    _is_empty,
    _misses_trades,
    _has_absences,
    _lacks_holes,
    _differs,
    _contradicts,
    _fails_checks,
    _goes_on,
    _has_open_ends,
)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _differ(number: int) -> str:
    return "differs" if number == 1 else "differ"


def _names(names: Iterable[str], shown: int = 3) -> str:
    found = sorted(set(names))
    more = f" and {len(found) - shown:,} more" if len(found) > shown else ""
    return ", ".join(found[:shown]) + more
