"""The queries behind the report: parameterised, and each reads the partitions of its days only.

`{project}` in the text becomes the client's project: the emulator answers a name without one with
no rows. Text and parameters go into the report, so that every number in it can be asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

DAYS_BEFORE: Final = 7

Parameter = date | datetime | str


@dataclass(frozen=True)
class Query:
    """A query of the report.

    Attributes:
        name: key of the query in the report.
        title: what it answers.
        sql: text with named parameters (`@day`) and `{project}` before each dataset.
        parameters: value of each, a DATE, a TIMESTAMP (aware) or a STRING.
    """

    name: str
    title: str
    sql: str
    parameters: Mapping[str, Parameter]

    def of(self, project: str) -> str:
        """Return the text for a project."""
        return self.sql.replace("{project}", project).strip()


def start_of(day: date) -> datetime:
    """Return a day's first instant, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def end_of(day: date) -> datetime:
    """Return the first instant after a day, UTC."""
    return start_of(day) + timedelta(days=1)


def completeness(day: date) -> Query:
    """Ask for the completeness of each symbol that traded.

    `is_end_proven`: Binance's own candle of the day ends with our last trade, so no trade after
    midnight is needed to know that the day is whole. `status` is the symbol's at the day's end.
    """
    return Query(
        "completeness",
        "Completeness of each symbol",
        """
select
    days.market, days.symbol, days.first_id, days.last_id, days.expected, days.present,
    days.missing, days.missing_before, days.unpublished, days.duplicates_removed,
    days.conflicts, days.healed, days.verdict, symbols.status,
    coalesce(candles.is_covered, false) as is_end_proven
from `{project}.marts.market_completeness` as days
left join `{project}.marts.kline_reconciliation` as candles
    on
        days.market = candles.market
        and days.symbol = candles.symbol
        and candles.kline_interval = '1d'
        and candles.opened_at = @day_start
left join `{project}.marts.dim_symbols` as symbols
    on
        days.market = symbols.market
        and days.symbol = symbols.symbol
        and symbols.valid_from < @day_end
        and coalesce(symbols.valid_to, @day_end) >= @day_end
where days.traded_on = @day
""",
        {"day": day, "day_start": start_of(day), "day_end": end_of(day)},
    )


def silent(day: date) -> Query:
    """Ask for symbols that traded in the days before and not on this one.

    `is_silence_proven`: Binance's own candle of the day is empty as well. `next_traded_on` is
    their next known day; a loss in between is a hole that spans this day.
    """
    return Query(
        "silent",
        "Symbols of the days before without a trade",
        """
with around as (
    select
        market, symbol,
        max(if(traded_on < @day, traded_on, null)) as last_traded_on,
        min(if(traded_on > @day, traded_on, null)) as next_traded_on,
        max(if(traded_on = @day, traded_on, null)) as traded_on
    from `{project}.marts.market_completeness`
    where traded_on between @first_day and @last_day
    group by 1, 2
)
select
    around.market, around.symbol, around.last_traded_on, around.next_traded_on, symbols.status,
    coalesce(candles.is_covered and candles.is_equal, false) as is_silence_proven
from around
left join `{project}.marts.kline_reconciliation` as candles
    on
        around.market = candles.market
        and around.symbol = candles.symbol
        and candles.kline_interval = '1d'
        and candles.opened_at = @day_start
left join `{project}.marts.dim_symbols` as symbols
    on
        around.market = symbols.market
        and around.symbol = symbols.symbol
        and symbols.valid_from < @day_end
        and coalesce(symbols.valid_to, @day_end) >= @day_end
where around.traded_on is null and around.last_traded_on is not null
""",
        {
            "day": day,
            "day_start": start_of(day),
            "day_end": end_of(day),
            "first_day": day - timedelta(days=DAYS_BEFORE),
            "last_day": day + timedelta(days=DAYS_BEFORE),
        },
    )


def holes(day: date) -> Query:
    """Ask for runs of missing ids that may belong to the day, those across its midnights too."""
    return Query(
        "holes",
        "Runs of trade ids that are missing",
        """
select
    market, symbol, first_missing_id, last_missing_id, missing, previous_traded_at,
    next_traded_at, is_unpublished
from `{project}.intermediate.int_id_holes`
where previous_traded_at < @day_end and next_traded_at >= @day_start
""",
        {"day_start": start_of(day), "day_end": end_of(day)},
    )


def repairs(day: date) -> Query:
    """Ask what was recorded of ids of the day, those across its midnights too, at any time since.

    A day's ids are those from the last trade before it to its own last trade, and those of its
    holes. A hole can be found on a later day, so the partitions are bounded on one side only.
    """
    return Query(
        "repairs",
        "What became of missing trade ids",
        """
with ids as (
    select market, symbol, first_id - missing_before as first_id, last_id
    from `{project}.marts.market_completeness`
    where traded_on = @day
    union all
    select market, symbol, first_missing_id as first_id, last_missing_id as last_id
    from `{project}.intermediate.int_id_holes`
    where previous_traded_at < @day_end and next_traded_at >= @day_start
)
select distinct
    attempts.market, attempts.symbol, attempts.first_missing_id, attempts.last_missing_id,
    attempts.outcome, attempts.cause, attempts.source, attempts.run_id, attempts.witnesses,
    attempts.detail, attempts.found_at, attempts.closed_at
from `{project}.ops.holes` as attempts
inner join ids
    on
        attempts.market = ids.market
        and attempts.symbol = ids.symbol
        and attempts.first_missing_id <= ids.last_id
        and attempts.last_missing_id >= ids.first_id
where attempts.found_at >= @day_start and attempts.channel = 'trade'
""",
        {"day": day, "day_start": start_of(day), "day_end": end_of(day)},
    )


def healed(day: date) -> Query:
    """Ask who brought the trades that the stream did not, when, and in how many runs."""
    return Query(
        "healed",
        "Trades that came another way than the stream",
        """
with trades as (
    select
        market, symbol, source, collector, trade_id, traded_at, received_at,
        lag(trade_id) over (
            partition by market, symbol, source, collector order by trade_id
        ) as previous_id
    from `{project}.intermediate.int_trades_deduplicated`
    where traded_at >= @day_start and traded_at < @day_end and source != 'stream'
)
select
    market, symbol, source, collector,
    count(*) as trades,
    countif(previous_id is null or trade_id > previous_id + 1) as runs,
    min(trade_id) as first_id,
    max(trade_id) as last_id,
    min(traded_at) as first_traded_at,
    max(traded_at) as last_traded_at,
    min(received_at) as first_received_at,
    max(received_at) as last_received_at
from trades
group by 1, 2, 3, 4
""",
        {"day_start": start_of(day), "day_end": end_of(day)},
    )


def reconciliation(day: date) -> Query:
    """Ask how many candles were compared with Binance's, by interval, class and coverage."""
    return Query(
        "reconciliation",
        "Our candles against Binance's, by interval and class",
        """
select
    kline_interval,
    coalesce(difference_class, 'equal') as difference_class,
    is_covered,
    count(*) as candles
from `{project}.marts.kline_reconciliation`
where opened_at >= @day_start and opened_at < @day_end
group by 1, 2, 3
""",
        {"day_start": start_of(day), "day_end": end_of(day)},
    )


def differences(day: date) -> Query:
    """Ask for candles that differ although every trade is here: mistakes of ours, the first 20."""
    return Query(
        "differences",
        "Candles that differ although every trade is here",
        """
select
    market, symbol, kline_interval, opened_at, open_difference, high_difference,
    low_difference, close_difference, volume_difference, quote_volume_difference,
    trades_difference, taker_buy_volume_difference, taker_buy_quote_volume_difference
from `{project}.marts.kline_reconciliation`
where opened_at >= @day_start and opened_at < @day_end and difference_class = 'ours'
order by opened_at, kline_interval, market, symbol
limit 20
""",
        {"day_start": start_of(day), "day_end": end_of(day)},
    )


def latency(day: date) -> Query:
    """Ask for the latency of each minute and stage, in microseconds."""
    return Query(
        "latency",
        "Latency by minute and stage",
        """
select market, stage, opened_at, p50_us, p99_us, max_us, trades, negative
from `{project}.marts.pipeline_latency`
where opened_at >= @day_start and opened_at < @day_end
""",
        {"day_start": start_of(day), "day_end": end_of(day)},
    )


def rejections(day: date) -> Query:
    """Ask for what was rejected, by stage and reason, with the first one of each as an example."""
    return Query(
        "rejections",
        "Rejected items by reason, with the first of each",
        """
select
    stage, reason, market, channel, symbol, field, value, detail,
    count(*) over (partition by stage, reason) as items,
    min(rejected_at) over (partition by stage, reason) as first_at,
    max(rejected_at) over (partition by stage, reason) as last_at
from `{project}.staging.stg_rejections`
where rejected_at >= @day_start and rejected_at < @day_end
qualify row_number() over (
    partition by stage, reason order by rejected_at, frame_id, line_number
) = 1
""",
        {"day_start": start_of(day), "day_end": end_of(day)},
    )


def checks(day: date) -> Query:
    """Ask for expectations that failed for a window in the day, the newest failure of each.

    `is_over`: a later check passed over all of the day that the failures were about. A rolling
    window that passes because it has moved on is none; `check_quality` for the day is. Windows
    that end more than an hour after the day are the next day's business. A day may be checked
    again at any time, so the partitions are bounded on one side only.
    """
    return Query(
        "checks",
        "Expectations that failed, and whether a later check passed over the same time",
        """
with checks as (
    select
        suite, expectation, table_name, column_name, severity, is_success, observed, threshold,
        meaning, remedy, link, checked_at,
        greatest(window_start, @day_start) as since,
        least(window_end, @day_end) as until
    from `{project}.ops.quality_results`
    where
        checked_at >= @day_start
        and window_start < @day_end and window_end > @day_start and window_end <= @last_end
),
failures as (
    select
        *,
        count(*) over (partition by suite, expectation) as failures,
        min(since) over (partition by suite, expectation) as failed_since,
        max(until) over (partition by suite, expectation) as failed_until
    from checks
    where not is_success
    qualify row_number() over (partition by suite, expectation order by checked_at desc) = 1
),
passes as (
    select failures.suite, failures.expectation, count(*) as passes
    from failures
    inner join checks
        on
            failures.suite = checks.suite
            and failures.expectation = checks.expectation
            and failures.checked_at < checks.checked_at
            and failures.failed_since >= checks.since
            and failures.failed_until <= checks.until
    where checks.is_success
    group by 1, 2
)
select
    failures.suite, failures.expectation, failures.table_name, failures.column_name,
    failures.severity, failures.failures, failures.observed, failures.threshold,
    failures.meaning, failures.remedy, failures.link, failures.checked_at,
    passes.passes is not null as is_over
from failures
left join passes
    on failures.suite = passes.suite and failures.expectation = passes.expectation
""",
        {
            "day_start": start_of(day),
            "day_end": end_of(day),
            "last_end": end_of(day) + timedelta(hours=1),
        },
    )


def volumes(day: date) -> Query:
    """Ask for trades and volume of each symbol on the day and the seven before it."""
    return Query(
        "volumes",
        f"Trades and volume of the day and the {DAYS_BEFORE} days before",
        """
select
    days.market, days.symbol, date(days.opened_at) as traded_on, days.trades,
    days.quote_volume, days.built_at, symbols.quote_asset
from `{project}.marts.market_daily_summary` as days
left join `{project}.marts.dim_symbols` as symbols
    on days.market = symbols.market and days.symbol = symbols.symbol and symbols.is_current
where days.opened_at >= @first_start and days.opened_at < @day_end
""",
        {
            "first_start": start_of(day - timedelta(days=DAYS_BEFORE)),
            "day_end": end_of(day),
        },
    )


ALL: Final[tuple[Callable[[date], Query], ...]] = (
    *(completeness, silent, holes, repairs, healed, reconciliation, differences),
    *(latency, rejections, checks, volumes),
)
