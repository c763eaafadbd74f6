"""Fetch: a hole's trades, and the proof for ids that never were, from REST or the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ..backfill.rows import Reader
from ..backfill.vision import DailyFile, Vision
from .holes import (
    ABSENT,
    Aggregate,
    Hole,
    Part,
    Range,
    SourceTrade,
    gaps,
    left_out_by,
    neighbours,
)
from .rest import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

REST: Final = "rest"
ARCHIVE: Final = "archive"
# A hole is between two trades; one that is longer is a story that people should look at.
LONGEST: Final = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a source knows of a hole.

    Attributes:
        source: rest or archive.
        trades: the hole's trades, by id.
        absent: parts of the hole that are proven absent.
        why: a sentence for ids that are neither; empty when there are none.
    """

    source: str
    trades: list[SourceTrade]
    absent: list[Part] = field(default_factory=list)
    why: str = ""


class Api(Protocol):
    """What is needed of REST; `rest.Rest` is the real one."""

    def trades(self, symbol: str, from_id: int) -> list[SourceTrade]:
        """Return a page of trades from an id on."""

    def aggregates(self, symbol: str, start: int, end: int) -> Iterable[Aggregate]:
        """Yield the aggregates between two trade times."""


def from_rest(api: Api, hole: Hole) -> Fetched:
    """Fetch a hole from REST: pages of trades, then aggregates around what they leave out.

    Raises:
        SourceError: REST does not serve us.
        Banned: the address is banned.
    """
    known: list[SourceTrade] = []
    next_id = max(hole.first_id - 1, 0)
    while next_id <= hole.last_id + 1:
        page = api.trades(hole.symbol, next_id)
        if not page:
            break
        known += page
        next_id = page[-1].id + 1

    def witness(gap: Range, before: SourceTrade, after: SourceTrade) -> tuple[str, str | None]:
        first = f"historicalTrades has {before.id} and {after.id} and nothing in between"
        aggregates = api.aggregates(hole.symbol, before.time, after.time)
        return first, left_out_by(gap, aggregates)

    return _assess(hole, REST, known, witness)


def from_archive(vision: Vision, folder: Path, hole: Hole) -> Fetched:
    """Fetch a hole from the daily files between the trades before and behind it.

    Args:
        vision: the archive.
        folder: where files are kept for further holes of their days.
        hole: the hole.

    Raises:
        SourceError: nobody knows the hole's days, or there are more than seven.
        VisionError: a file is missing, or is not what its CHECKSUM says.
        Mangled: a file holds something else than trades.
    """
    days = days_of(hole)
    loaded = [vision.download(DailyFile("trades", hole.symbol, day), folder) for day in days]
    known = [
        trade
        for (path, _), day in zip(loaded, days, strict=True)
        for trade in _trades(Reader(path, "trades", day), hole)
    ]
    sums = ", ".join(f"{path.name} ({digest[:12]})" for path, digest in loaded)

    def witness(gap: Range, before: SourceTrade, after: SourceTrade) -> tuple[str, str | None]:
        first = f"{sums}: {before.id} and {after.id} and nothing in between"
        return first, left_out_by(gap, _aggregates(vision, hole, days, folder, gap))

    return _assess(hole, ARCHIVE, known, witness)


def days_of(hole: Hole) -> list[date]:
    """Return the UTC days that a hole's trades may be of.

    Raises:
        SourceError: nobody knows, or there are more than seven.
    """
    if hole.before is None or hole.after is None:
        raise SourceError("the archive is by day: give the day of the hole")
    first, last = hole.before.date(), hole.after.date()
    if last - first > LONGEST:
        raise SourceError(f"the hole is from {first} to {last}: run backfill_history for the days")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


Witness = Callable[[Range, SourceTrade, SourceTrade], tuple[str, str | None]]


def _assess(hole: Hole, source: str, known: Sequence[SourceTrade], witness: Witness) -> Fetched:
    """Divide a hole into what a source has, what is proven absent, and the rest."""
    absent: list[Part] = []
    why: list[str] = []
    for gap in gaps(hole, known):
        before, after = neighbours(gap, known)
        if before is None or after is None:
            side = "before" if before is None else "behind"
            why.append(f"{source} has no trade {side} {gap[0]} to {gap[1]}")
            continue
        first, second = witness(gap, before, after)
        if second is None:
            why.append(f"{first}, but the aggregates do not confirm that")
            continue
        absent.append(
            Part(
                first_id=gap[0],
                last_id=gap[1],
                outcome=ABSENT,
                witnesses=f"{source}: {first}; {second}",
            )
        )
    trades = [trade for trade in known if hole.first_id <= trade.id <= hole.last_id]
    return Fetched(source=source, trades=trades, absent=absent, why="; ".join(why))


def _trades(reader: Reader, hole: Hole) -> Iterator[SourceTrade]:
    """Yield a file's trades of the hole, and the nearest ones around it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def picked(table: pa.Table) -> Iterator[SourceTrade]:
        for row in table.to_pylist():
            yield SourceTrade(
                row["trade_id"],
                _decimal(row["price"]),
                _decimal(row["quantity"]),
                _count(row["traded_at"]),
                row["is_buyer_maker"],
                row["is_best_match"],
            )

    before: pa.Table | None = None
    for table in reader.batches():
        ids = table["trade_id"]
        below = table.filter(pc.less(ids, pa.scalar(hole.first_id)))
        before = below.slice(below.num_rows - 1) if below.num_rows else before
        inside = pc.and_(
            pc.greater_equal(ids, pa.scalar(hole.first_id)),
            pc.less_equal(ids, pa.scalar(hole.last_id)),
        )
        yield from picked(table.filter(inside))
        behind = table.filter(pc.greater(ids, pa.scalar(hole.last_id)))
        if behind.num_rows:
            yield from picked(behind.slice(0, 1))
            break
    if before is not None:
        yield from picked(before)


def _aggregates(
    vision: Vision, hole: Hole, days: Sequence[date], folder: Path, gap: Range
) -> Iterator[Aggregate]:
    """Yield the last aggregate before a gap and the first one behind it, of each block of a file.

    An aggregate with the gap inside is neither, and its id is then missing between the two.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for day in days:
        path, _ = vision.download(DailyFile("aggTrades", hole.symbol, day), folder)
        for table in Reader(path, "aggTrades", day).batches():
            below = table.filter(pc.less(table["last_trade_id"], pa.scalar(gap[0])))
            above = table.filter(pc.greater(table["first_trade_id"], pa.scalar(gap[1])))
            for row in (
                *below.slice(max(below.num_rows - 1, 0)).to_pylist(),
                *above.slice(0, 1).to_pylist(),
            ):
                yield Aggregate(row["agg_trade_id"], row["first_trade_id"], row["last_trade_id"])


def _decimal(value: Decimal) -> str:
    """Return a value of 9 decimals as Binance writes it, with 8."""
    return f"{value:f}".removesuffix("0")


def _count(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
