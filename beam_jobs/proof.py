"""The proof of a replay: control totals of archive and tables, and whatever spoils them.

Pure: what the steps found goes in, a JSON document comes out. `docs/replay.md` explains it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, Final, Self

from beam_jobs.archive import ArchiveKey
from market_data.numbers import EXACT
from market_data.totals import SymbolTotals

# Enough to see what they have in common; their number is always told.
MAX_EXAMPLES: Final = 100


@dataclass(frozen=True, slots=True)
class Sums:
    """Control totals that were added up: exact, whatever the order.

    Attributes:
        count: number of rows.
        sum_ids: sum of the ids.
        sum_quantity: sum of quantity; None for channels without one.
        sum_quote_quantity: sum of quote quantity; None for channels without one.
    """

    count: int = 0
    sum_ids: Decimal = Decimal(0)
    sum_quantity: Decimal | None = None
    sum_quote_quantity: Decimal | None = None

    @classmethod
    def of(cls, totals: SymbolTotals) -> Self:
        """Return the sums of one symbol's totals."""
        return cls(totals.count, totals.sum_ids, totals.sum_quantity, totals.sum_quote_quantity)

    def __add__(self, other: Sums) -> Sums:
        """Return the sums of both."""
        with localcontext(EXACT):
            return Sums(
                self.count + other.count,
                self.sum_ids + other.sum_ids,
                _plus(self.sum_quantity, other.sum_quantity),
                _plus(self.sum_quote_quantity, other.sum_quote_quantity),
            )

    def as_json(self) -> dict[str, int | str | None]:
        """Return whole numbers and decimal strings, the same for equal sums."""
        return {
            "count": self.count,
            "sum_ids": _text(self.sum_ids),
            "sum_quantity": _text(self.sum_quantity),
            "sum_quote_quantity": _text(self.sum_quote_quantity),
        }


@dataclass(frozen=True, slots=True)
class HourProof:
    """What archive and tables hold of one hour of arrival of a channel.

    Attributes:
        key: the hour.
        frames: number of frames in the archive.
        archive: sums of the archive's frames by symbol.
        before: sums of the same frames in the table, before the replay.
        table: the same, after it.
        differences: a sentence for each frame and symbol that differs.
        unarchived: ids of frames that the ledger has and no readable object.
    """

    key: ArchiveKey
    frames: int
    archive: dict[str, Sums]
    before: dict[str, Sums]
    table: dict[str, Sums]
    differences: list[str]
    unarchived: list[str]


def sums_by_symbol(totals: Iterable[SymbolTotals]) -> dict[str, Sums]:
    """Return the sums of totals by symbol."""
    found: dict[str, Sums] = {}
    for each in totals:
        found[each.symbol] = found.get(each.symbol, Sums()) + Sums.of(each)
    return found


def proof_document(
    asked: Mapping[str, Any],
    hours: Iterable[HourProof],
    problems: Iterable[str],
    replayed: Iterable[int],
) -> dict[str, Any]:
    """Return the proof.

    Args:
        asked: what was to be replayed, for the reader.
        hours: what archive and tables hold.
        problems: objects that could not be replayed.
        replayed: rows appended, one number a frame.
    """
    hours, rows = list(hours), list(replayed)
    archive, before, table = (
        _by_symbol((hour.key, getattr(hour, name)) for hour in hours)
        for name in ("archive", "before", "table")
    )
    symbols = [
        {
            "channel": key[0],
            "symbol": key[1],
            "is_equal": archive[key] == table.get(key, Sums()),
            "archive": archive[key].as_json(),
            "before": before.get(key, Sums()).as_json(),
            "table": table.get(key, Sums()).as_json(),
        }
        for key in sorted(archive)
    ]
    differences = [text for hour in hours for text in hour.differences]
    unarchived = [name for hour in hours for name in hour.unarchived]
    problems = sorted(problems)
    is_equal = all(symbol["is_equal"] for symbol in symbols)
    return {
        **asked,
        "is_proven": is_equal and not (differences or unarchived or problems),
        "frames": sum(hour.frames for hour in hours),
        "rows": sum(sums.count for sums in archive.values()),
        "replayed_frames": len(rows),
        "replayed_rows": sum(rows),
        "problems": problems,
        "different_frames": len(differences),
        "differences": differences[:MAX_EXAMPLES],
        "unarchived_frames": len(unarchived),
        "unarchived": unarchived[:MAX_EXAMPLES],
        "symbols": symbols,
    }


def _by_symbol(
    hours: Iterable[tuple[ArchiveKey, Mapping[str, Sums]]],
) -> dict[tuple[str, str], Sums]:
    found: dict[tuple[str, str], Sums] = {}
    for key, sums in hours:
        for symbol, each in sums.items():
            name = (key.channel, symbol)
            found[name] = found[name] + each if name in found else each
    return found


def _plus(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format(value.normalize(EXACT), "f")
