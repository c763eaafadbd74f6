"""Facts: what the queries answered, one frozen class a kind of row, fields named as the columns.

Prices and quantities are `Decimal`, times aware and UTC, latencies microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """A symbol's day; see the mart market_completeness."""

    market: str
    symbol: str
    first_id: int
    last_id: int
    expected: int
    present: int
    missing: int
    missing_before: int
    unpublished: int
    duplicates_removed: int
    conflicts: int
    healed: int
    verdict: str
    status: str | None
    is_end_proven: bool

    @property
    def lost(self) -> int:
        """Ids missing in the day or before it that the exchange sent."""
        return self.missing + self.missing_before - self.unpublished

    @property
    def is_proven(self) -> bool:
        """Whether nothing of the day can be missing.

        By the next day's first trade, by Binance's candle of the day, or because the symbol does
        not trade any more and no next trade will come.
        """
        is_over = self.is_end_proven or not is_trading(self.status)
        return self.verdict == "FINAL" or (self.verdict == "PROVISIONAL" and is_over)


@dataclass(frozen=True, kw_only=True)
class Silent:
    """A symbol that traded in the days before and not on this one."""

    market: str
    symbol: str
    last_traded_on: date
    next_traded_on: date | None
    status: str | None
    is_silence_proven: bool

    @property
    def is_proven(self) -> bool:
        """Whether it is known that nothing was traded, or that what was is a known hole."""
        return (
            self.next_traded_on is not None or self.is_silence_proven or not is_trading(self.status)
        )


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A run of missing ids that may belong to the day; see int_id_holes."""

    market: str
    symbol: str
    first_missing_id: int
    last_missing_id: int
    missing: int
    previous_traded_at: datetime
    next_traded_at: datetime
    is_unpublished: bool


@dataclass(frozen=True, kw_only=True)
class Repair:
    """A row of ops.holes: what became of a range of ids; its columns are explained there."""

    market: str
    symbol: str
    first_missing_id: int
    last_missing_id: int
    outcome: str
    cause: str
    source: str
    run_id: str
    witnesses: str
    detail: str
    found_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Healed:
    """Trades of a symbol that came another way than the stream."""

    market: str
    symbol: str
    source: str
    collector: str
    trades: int
    runs: int
    first_id: int
    last_id: int
    first_traded_at: datetime
    last_traded_at: datetime
    first_received_at: datetime
    last_received_at: datetime


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Number of candles of an interval, a class ("equal" or why they differ) and a coverage."""

    kline_interval: str
    difference_class: str
    is_covered: bool
    candles: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A candle that differs although every trade is here: ours minus Binance's."""

    market: str
    symbol: str
    kline_interval: str
    opened_at: datetime
    open_difference: Decimal
    high_difference: Decimal
    low_difference: Decimal
    close_difference: Decimal
    volume_difference: Decimal
    quote_volume_difference: Decimal
    trades_difference: int
    taker_buy_volume_difference: Decimal
    taker_buy_quote_volume_difference: Decimal


@dataclass(frozen=True, kw_only=True)
class Latency:
    """A minute and stage; see the mart pipeline_latency."""

    market: str
    stage: str
    opened_at: datetime
    p50_us: int
    p99_us: int
    max_us: int
    trades: int
    negative: int


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """Items rejected for one reason, with the first of them as an example."""

    stage: str
    reason: str
    items: int
    first_at: datetime
    last_at: datetime
    market: str | None
    channel: str | None
    symbol: str | None
    field: str | None
    value: str | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """An expectation that failed for a window in the day: its newest failure.

    Attributes:
        failures: how often it failed.
        is_over: whether a later check passed over the same time.
    """

    suite: str
    expectation: str
    table_name: str
    column_name: str
    severity: str
    failures: int
    observed: str
    threshold: str
    meaning: str
    remedy: str
    link: str
    checked_at: datetime
    is_over: bool


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A symbol's trades and volume of a day."""

    market: str
    symbol: str
    traded_on: date
    trades: int
    quote_volume: Decimal
    quote_asset: str | None
    built_at: datetime


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that the report of a day says.

    Attributes:
        repairs: of ids of the day; None when the warehouse has no table of them.
        checks: None when the warehouse has no table of checks.
        volumes: of the day and of the seven before it.
    """

    day: date
    completeness: tuple[Completeness, ...] = ()
    silent: tuple[Silent, ...] = ()
    holes: tuple[Hole, ...] = ()
    repairs: tuple[Repair, ...] | None = ()
    healed: tuple[Healed, ...] = ()
    reconciliation: tuple[Compared, ...] = ()
    differences: tuple[Difference, ...] = ()
    latency: tuple[Latency, ...] = ()
    rejections: tuple[Rejected, ...] = ()
    checks: tuple[Check, ...] | None = None
    volumes: tuple[Volume, ...] = ()


def is_trading(status: str | None) -> bool:
    """Tell whether trades may come; without a snapshot of the symbol they may."""
    return status in (None, "TRADING")
