"""Hole records: what became of a hole, as lines of the channel `hole`. Pure.

The Beam job loads them to `ops.holes`, whose columns are explained in `market_data.records`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from collector.continuity import Hole, without
from collector.runs import Range


class Outcome(StrEnum):
    """How a range of missing ids ends."""

    HEALED = "healed"
    ABSENT = "absent_at_source"
    FAILED = "failed"
    HANDED_OVER = "handed_over"


@dataclass(frozen=True, slots=True)
class Part:
    """A range of a hole's ids that did not come, and what is said of all of them."""

    ids: Range
    outcome: Outcome
    witnesses: str = ""
    detail: str = ""


def whole(hole: Hole, outcome: Outcome, detail: str) -> list[Part]:
    """Return the parts of a hole of which everything missing has one outcome."""
    return [Part(ids, outcome, detail=detail) for ids in hole.missing]


def record_lines(hole: Hole, parts: Sequence[Part], run_id: str, now: int) -> Iterator[bytes]:
    """Yield a line for each range of a hole that has one outcome, by id.

    Args:
        hole: the hole.
        parts: what did not come; all other ids of the hole have.
        run_id: the collector and its epoch.
        now: µs since 1970.
    """
    healed: Iterable[Range] = [(hole.first_id, hole.last_id)]
    for part in parts:
        healed = without(healed, part.ids)
    came = [Part(ids, Outcome.HEALED) for ids in healed]
    for part in sorted([*came, *parts], key=lambda part: part.ids):
        yield msgspec.json.encode({"received_at": now, "data": _record(hole, part, run_id, now)})


def source_of(hole: Hole, parts: Sequence[Part]) -> str:
    """Return how the outcome reached us: stream where REST has neither given nor said anything."""
    was_asked = any(part.outcome in (Outcome.ABSENT, Outcome.FAILED) for part in parts)
    return "rest" if was_asked or "rest" in hole.sources.values() else "stream"


def _record(hole: Hole, part: Part, run_id: str, now: int) -> dict[str, object]:
    record: dict[str, object] = {
        "run_id": run_id,
        "channel": hole.channel,
        "symbol": hole.symbol,
        "first_missing_id": part.ids[0],
        "last_missing_id": part.ids[1],
        "missing": part.ids[1] - part.ids[0] + 1,
        "found_at": hole.found_at,
        "outcome": part.outcome,
        "cause": hole.cause,
        "witnesses": part.witnesses,
        "frames": ", ".join(hole.sources) if part.outcome is Outcome.HEALED else "",
        "detail": part.detail,
    }
    if part.outcome in (Outcome.HEALED, Outcome.ABSENT):
        record["closed_at"] = now
    return record
