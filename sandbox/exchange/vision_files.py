"""A day of the market as a daily file of data.binance.vision: its name, its lines, its zip. Pure.

Source: binance-protocol section 5. Spot files have no header; times are in milliseconds before
2025 and in microseconds since; flags are `True` and `False`.

Everything is made in slices, a second of the market each, so that a caller can do other things in
between and no more than a slice is in memory.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import IO

from sandbox.exchange.clock import Timeline
from sandbox.exchange.fixed_point import format_fixed, multiply_truncated
from sandbox.exchange.klines import INTERVALS, KlineSeries
from sandbox.exchange.market import Aggregate, SymbolMarket
from sandbox.exchange.payloads import MICROSECOND, MILLISECOND, kline_row

FIRST_DAY_IN_MICROSECONDS = date(2025, 1, 1)
_DAY_US = 86_400_000_000
_MINUTES = 1440
_KIND = re.compile(
    r"(?P<kind>trades|aggTrades|klines)/(?P<symbol>[^/]+)/(?:(?P<interval>[^/]+)/)?"
    r"[^/]+-(?P<day>\d{4}-\d\d-\d\d)\.zip"
)


@dataclass(frozen=True, slots=True)
class DailyFile:
    """A file; `interval` is empty but for klines."""

    kind: str
    symbol: str
    interval: str
    day: date

    @property
    def name(self) -> str:
        """Its name without an ending."""
        return f"{self.symbol}-{self.interval or self.kind}-{self.day}"

    @property
    def path(self) -> str:
        """Its path below `data/spot/daily/`."""
        folder = f"{self.symbol}/{self.interval}" if self.interval else self.symbol
        return f"{self.kind}/{folder}/{self.name}.zip"

    @property
    def start_us(self) -> int:
        """When its day begins, UTC in microseconds."""
        start = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        return int(start.timestamp()) * 1_000_000

    @property
    def end_us(self) -> int:
        """When its day ends."""
        return self.start_us + _DAY_US

    @property
    def unit(self) -> int:
        """The unit of its times."""
        return MICROSECOND if self.day >= FIRST_DAY_IN_MICROSECONDS else MILLISECOND


def parse_path(path: str) -> DailyFile | None:
    """Return the file at a path below `data/spot/daily/`; None when no file can be there."""
    match = _KIND.fullmatch(path)
    if match is None:
        return None
    try:
        day = date.fromisoformat(match["day"])
    except ValueError:
        return None
    file = DailyFile(match["kind"], match["symbol"], match["interval"] or "", day)
    is_known = file.interval in (INTERVALS if file.kind == "klines" else ("",))
    return file if is_known and file.path == path else None


def write_zip(
    target: IO[bytes],
    file: DailyFile,
    market: SymbolMarket,
    timeline: Timeline,
    span: tuple[int, int],
) -> Iterator[None]:
    """Write a file's zip; yields between slices.

    Args:
        target: where to.
        file: which; its symbol has traded before.
        market: the market of its symbol.
        timeline: translates its times.
        span: the market times of the day, the end exclusive.
    """
    entry = zipfile.ZipInfo(f"{file.name}.csv", (file.day + timedelta(days=1)).timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    with (
        zipfile.ZipFile(target, "w", compresslevel=1) as archive,
        archive.open(entry, "w", force_zip64=True) as csv,
    ):
        for text in slices(file, market, timeline, span):
            csv.write(text.encode())
            yield


def slices(
    file: DailyFile, market: SymbolMarket, timeline: Timeline, span: tuple[int, int]
) -> Iterator[str]:
    """Yield a file's lines, those of a second at a time; klines come with the last."""
    seconds = (
        [aggregate._replace(time_us=timeline.to_simulated(aggregate.time_us)) for aggregate in each]
        for each in market.span(*span)
    )
    if file.kind == "klines":
        yield from _klines(file, seconds, market.price_before(span[0]))
    else:
        lines = _trade_lines if file.kind == "trades" else _agg_trade_lines
        for second in seconds:
            yield "".join(line for each in second for line in lines(each, file.unit))


def _trade_lines(aggregate: Aggregate, unit: int) -> Iterable[str]:
    price, time = aggregate.price, aggregate.time_us // unit
    head, tail = format_fixed(price), f"{time},{aggregate.is_buyer_maker},True\n"
    return [
        f"{trade_id},{head},{format_fixed(quantity)},"
        f"{format_fixed(multiply_truncated(price, quantity))},{tail}"
        for trade_id, quantity in enumerate(aggregate.fills, aggregate.first_id)
    ]


def _agg_trade_lines(aggregate: Aggregate, unit: int) -> Iterable[str]:
    yield (
        f"{aggregate.aggregate_id},{format_fixed(aggregate.price)},"
        f"{format_fixed(aggregate.quantity)},{aggregate.first_id},{aggregate.last_id},"
        f"{aggregate.time_us // unit},{aggregate.is_buyer_maker},True\n"
    )


def _klines(
    file: DailyFile, seconds: Iterable[list[Aggregate]], previous_close: int
) -> Iterator[str]:
    series = KlineSeries(file.start_us, previous_close, _MINUTES)
    for second in seconds:
        for aggregate in second:
            series.add(aggregate)
        yield ""
    series.roll(file.end_us)
    rows = (kline_row(bar, file.interval, file.unit) for bar in series.closed(file.interval))
    yield "".join(",".join(map(str, row)) + "\n" for row in rows)
