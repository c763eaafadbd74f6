"""Minutes: what trades say of each minute, held against what the official klines say.

Rules (Binance's klines): a kline holds the trades with time in its minute; its first and last ids
are the smallest and largest of them; a minute without trades has 0 of everything. Whether a kline's
quote volume sums exact or truncated products is not known, so it may differ by 1e-8 a trade.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

QUOTE_STEP: Final = Decimal("1e-8")
_EXAMPLES: Final = 3


class Differs(Exception):
    """Trades and klines of the archive do not tell the same; names minutes, values and remedy."""


@dataclass(frozen=True, kw_only=True)
class Minute:
    """What was traded in a minute."""

    trades: int
    volume: Decimal
    quote_volume: Decimal
    first_id: int
    last_id: int


NOTHING: Final = Minute(
    trades=0, volume=Decimal(0), quote_volume=Decimal(0), first_id=-1, last_id=-1
)


class Minutes:
    """Adds up trades or aggregate trades, a block at a time."""

    def __init__(self) -> None:
        self._blocks: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Add rows with `traded_at`, `quantity`, `quote_quantity`, `trades`, `first_id`, `last_id`.

        `trades` is the number of trades that a row stands for.
        """
        import pyarrow.compute as pc

        minutes = pc.floor_temporal(table["traded_at"], unit="minute")
        self._blocks.append(_grouped(table.append_column("opened_at", minutes)))

    def by_start(self) -> dict[datetime, Minute]:
        """Return the minutes with trades by their start."""
        import pyarrow as pa

        if not self._blocks:
            return {}
        names = ("trades", "quantity", "quote_quantity", "first_id", "last_id")
        total = _grouped(pa.concat_tables(self._blocks))
        columns = [total[name].to_pylist() for name in names]
        return {
            start: Minute(
                trades=trades, volume=volume, quote_volume=quote, first_id=first, last_id=last
            )
            for start, trades, volume, quote, first, last in zip(
                total["opened_at"].to_pylist(), *columns, strict=True
            )
        }


def _grouped(table: pa.Table) -> pa.Table:
    aggregates = [
        ("trades", "sum"),
        ("quantity", "sum"),
        ("quote_quantity", "sum"),
        ("first_id", "min"),
        ("last_id", "max"),
    ]
    grouped = table.group_by("opened_at").aggregate(aggregates)
    found = grouped.select(["opened_at", *(f"{name}_{how}" for name, how in aggregates)])
    return found.rename_columns(["opened_at", *(name for name, _ in aggregates)])


def differences(traded: dict[datetime, Minute], klines: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each minute in which trades and klines differ, in order of time."""
    official = {row["opened_at"]: row for row in klines}
    for start in sorted({*traded, *official}):
        minute, kline = traded.get(start, NOTHING), official.get(start)
        at = f"{start:%H:%M}"
        if kline is None:
            yield f"{at} has {minute.trades} trades and no kline"
        elif minute.trades != kline["trades"]:
            yield f"{at} has {minute.trades} trades, its kline {kline['trades']}"
        elif minute.volume != kline["volume"]:
            yield f"{at} has volume {_text(minute.volume)}, its kline {_text(kline['volume'])}"
        elif abs(minute.quote_volume - kline["quote_volume"]) > minute.trades * QUOTE_STEP:
            yield (
                f"{at} has quote volume {_text(minute.quote_volume)},"
                f" its kline {_text(kline['quote_volume'])}"
            )


def check(
    name: str, traded: dict[datetime, Minute], klines: Iterable[dict[str, Any]], allowed: int
) -> int:
    """Return the number of minutes that differ.

    Args:
        name: the file of the trades.
        traded: their minutes.
        klines: rows of the day's 1m klines.
        allowed: so many minutes may differ.

    Raises:
        Differs: more do.
    """
    found = list(differences(traded, klines))
    if len(found) > allowed:
        raise Differs(
            f"{name}: {len(found)} minutes differ from the official klines, {allowed} may:"
            f" {'; '.join(found[:_EXAMPLES])}. Nothing was loaded. If Binance's files are known to"
            " differ on that day, run it with `allowed_minutes`"
        )
    return len(found)


def _text(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
