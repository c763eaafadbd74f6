"""Suites: what must be true, how much it matters, and what to do when it is not.

A suite is a function of the window and gives a description, so that importing it costs nothing.
`runner` makes Great Expectations' own expectations of it; `kind` is the name of one. Each query
reads only the columns that are looked at and prunes partitions by constant times.

Bounds are counts, times and 0, never prices: Great Expectations sends numbers as floating point,
which cannot change a sign. All other comparisons of prices are made by BigQuery, in NUMERIC.
SQL in here holds no colon and no per cent sign: SQLAlchemy would read parameters into them.
"""

# ruff: noqa: S608 - what is put into SQL are constants of this module and times

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from .window import DAY, Window, sql_time

Severity = Literal["fail", "warn"]

# A frame that overtakes another one is seen within this; a missing one is lost.
SETTLED: Final = timedelta(minutes=2)
# Rows that were loaded this long before a build are in it.
BUILT_AFTER: Final = timedelta(minutes=10)
REJECTED_PER_MILLE: Final = 1
COARSER: Final = {"5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}
DIFFERENCE_CLASSES: Final = ("boundary", "exchange revised", "excluded from stream")


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One truth.

    Attributes:
        name: unique in its suite.
        kind: class of Great Expectations.
        severity: fail stops what depends on the data, warn is recorded.
        threshold: what the observed value is held against, for people.
        meaning: a sentence that says what is true of good data, and why it matters.
        remedy: a sentence that says what to do when it is not.
        columns: columns that it is about.
        arguments: of `kind`.
    """

    name: str
    kind: str
    severity: Severity
    threshold: str
    meaning: str
    remedy: str
    columns: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Truths of one batch of rows.

    Attributes:
        name: unique.
        table: dataset and table that it is about.
        query: SQL of the batch.
        keys: columns that name a row, for examples.
        expectations: what must be true.
        others: further tables that are read.
    """

    name: str
    table: str
    query: str
    keys: tuple[str, ...]
    expectations: tuple[Expectation, ...]
    others: tuple[str, ...] = ()


def raw_trades(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of trades as they were loaded.

    The batch has an hour more on both sides, so that frames at the window's edges are whole.
    """
    hour = timedelta(hours=1)
    around = window.widened(hour, hour)
    return Suite(
        name="raw_trades",
        table="raw.trades",
        query=(
            "select market, symbol, trade_id, price, quantity, quote_quantity, traded_at,"
            f" received_at, frame_id from `raw`.`trades` where {around.holds('traded_at')}"
        ),
        keys=("market", "symbol", "trade_id"),
        others=("ops.frame_symbols",),
        expectations=(
            _has_rows("trades", "Is the collector alive, the job running? See watch_stream."),
            _is_fresh("traded_at", window.end - stale_after, "trades"),
            _above_zero("price", _REPLAY),
            _above_zero("quantity", _REPLAY),
            _not_negative("quote_quantity", _REPLAY),
            Expectation(
                name="received_after_traded",
                kind="ExpectColumnPairValuesAToBeGreaterThanB",
                severity="warn",
                threshold="99 % of rows",
                meaning="A trade is received after it was made, or a clock is wrong.",
                remedy="Check the collector machine's clock (chrony, NTP).",
                columns=("received_at", "traded_at"),
                arguments={"or_equal": True, "mostly": 0.99, **_PAIR_NULLS},
            ),
            _no_rows(
                "frames_are_loaded",
                severity="fail",
                threshold="0 frames with fewer rows than loaded",
                meaning=(
                    "Each frame and symbol has as many rows as the ledger says were loaded, for"
                    " every time that it was loaded, or each of its trade ids after a replay."
                ),
                remedy="Rows were lost or deleted: run replay_archive for the hours named.",
                columns=("frame_id", "trade_id"),
                sql=f"""
                with ledger as (
                    select frame_id, market, symbol, sum(loaded) as loaded,
                        max(loaded) as ids, min(first_at) as since
                    from (
                        select frame_id, market, symbol, loaded_at, max(count) as loaded,
                            min(first_at) as first_at
                        from `ops`.`frame_symbols`
                        where channel = 'trade'
                            and loaded_at >= {sql_time(around.start)}
                            and first_at >= {sql_time(around.start)}
                            and first_at < {sql_time(window.end)}
                            and last_at >= {sql_time(window.start)}
                            and last_at < {sql_time(around.end)}
                        group by frame_id, market, symbol, loaded_at
                    ) as loads
                    group by frame_id, market, symbol
                ),
                found as (
                    select frame_id, market, symbol, count(*) as found,
                        count(distinct trade_id) as ids
                    from {{batch}} group by frame_id, market, symbol
                )
                select concat(
                    ledger.symbol, ' frame ', ledger.frame_id, ' of ',
                    cast(ledger.since as string), ' has ',
                    cast(coalesce(found.found, 0) as string), ' rows of ',
                    cast(cast(ledger.loaded as int64) as string)
                ) as problem
                from ledger
                left join found
                    on ledger.frame_id = found.frame_id
                    and ledger.market = found.market
                    and ledger.symbol = found.symbol
                where coalesce(found.found, 0) < ledger.loaded
                    and coalesce(found.ids, 0) < ledger.ids
                """,
            ),
        ),
    )


def trades(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of trades after de-duplication."""
    return Suite(
        name="trades",
        table="intermediate.int_trades_deduplicated",
        query=(
            "select market, symbol, trade_id, is_conflicting, built_at"
            " from `intermediate`.`int_trades_deduplicated`"
            f" where {window.holds('traded_at')}"
        ),
        keys=("market", "symbol", "trade_id"),
        others=("raw.trades",),
        expectations=(
            _has_rows("de-duplicated trades", "Run build_marts, then check raw_trades."),
            _unique("market", "symbol", "trade_id"),
            _no_rows(
                "copies_agree",
                severity="fail",
                threshold="0 trades",
                meaning="Messages that repeat a trade id carry the same price and quantity.",
                remedy="Compare the copies in raw.trades by frame_id; the raw archive is right.",
                columns=("is_conflicting",),
                sql="""
                select concat(symbol, ' ', cast(trade_id as string)) as problem
                from {batch} where is_conflicting
                """,
            ),
            _no_rows(
                "no_trade_is_lost",
                severity="fail",
                threshold="0 trades",
                meaning=f"Trades loaded {_minutes(BUILT_AFTER)} before the last build are built.",
                remedy="Run build_marts with a full refresh; docs/decisions/005 says why.",
                columns=("trade_id",),
                sql=f"""
                with built as (select * from {{batch}}),
                newest as (select max(built_at) as built_at from built)
                select concat(
                    loaded.symbol, ' ', cast(loaded.trade_id as string), ' frame ', loaded.frame_id
                ) as problem
                from `raw`.`trades` as loaded
                cross join newest
                left join built
                    on loaded.market = built.market
                    and loaded.symbol = built.symbol
                    and loaded.trade_id = built.trade_id
                where {window.holds("loaded.traded_at")}
                    and loaded.loaded_at < timestamp_sub(
                        newest.built_at, interval {BUILT_AFTER // timedelta(minutes=1)} minute
                    )
                    and built.trade_id is null
                """,
            ),
        ),
    )


def klines(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of Binance's klines, the witness for our candles."""
    return Suite(
        name="klines",
        table="raw.klines",
        query=(
            f"select market, symbol, kline_interval, opened_at, closed_at, {_CANDLE_COLUMNS}"
            f" from `raw`.`klines` where {window.whole_days.holds('opened_at')}"
        ),
        keys=("market", "symbol", "kline_interval", "opened_at"),
        expectations=(
            _has_rows("klines", "Does the collector subscribe to klines (BINANCE_CHANNELS)?"),
            *_candle_truths("Our decoder or Binance is wrong: compare with the raw archive."),
            Expectation(
                name="closes_after_opening",
                kind="ExpectColumnPairValuesAToBeGreaterThanB",
                severity="fail",
                threshold="closed_at > opened_at",
                meaning="A candle ends after it began.",
                remedy="Times were decoded in the wrong unit: compare with the raw archive.",
                columns=("closed_at", "opened_at"),
                arguments=_PAIR_NULLS,
            ),
        ),
    )


def frames(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of the transport ledger.

    The batch begins a day earlier: a frame that was delayed has its neighbours there.
    """
    before = window.widened(DAY)
    return Suite(
        name="frames",
        table="ops.frames",
        query=(
            "select collector, epoch, sequence, frame_id, header_lines, lines, loaded_rows,"
            " ignored_lines, rejected_lines, loaded_at"
            f" from `ops`.`frames` where {before.holds('loaded_at')}"
        ),
        keys=("collector", "epoch", "sequence"),
        expectations=(
            _has_rows("frames", "Is the collector alive, the job running? See watch_stream."),
            _is_fresh("loaded_at", window.end - stale_after, "frames"),
            _no_rows(
                "sequences_are_consecutive",
                severity="fail",
                threshold="0 gaps",
                meaning="Frames of a collector's epoch are numbered without a gap: none was lost.",
                remedy=(
                    "Look for the numbers in the bucket; if they are there run replay_archive,"
                    " else repair_gaps."
                ),
                columns=("sequence",),
                sql=f"""
                with numbered as (
                    select collector, epoch, sequence, min(loaded_at) as loaded_at
                    from {{batch}} group by collector, epoch, sequence
                ),
                steps as (
                    select *, coalesce(
                        lag(sequence) over (partition by collector, epoch order by sequence),
                        if(timestamp_micros(epoch) >= {sql_time(before.start)}, 0, sequence - 1)
                    ) as previous
                    from numbered
                )
                select concat(
                    collector, ' epoch ', cast(epoch as string), ' lacks ',
                    cast(previous + 1 as string), ' to ', cast(sequence - 1 as string)
                ) as problem
                from steps
                where sequence > previous + 1
                    and loaded_at >= {sql_time(window.start)}
                    and loaded_at < {sql_time(window.end - SETTLED)}
                """,
            ),
            Expectation(
                name="frames_are_whole",
                kind="ExpectColumnPairValuesToBeEqual",
                severity="fail",
                threshold="lines = header_lines",
                meaning="A frame holds as many lines as its collector put in.",
                remedy="The frame was damaged on its way: run repair_gaps for its time.",
                columns=("lines", "header_lines"),
                arguments=_PAIR_NULLS,
            ),
            _no_rows(
                "lines_are_accounted_for",
                severity="fail",
                threshold="loaded + ignored + rejected = lines",
                meaning="Each line of a frame became a row, a rejection or was left out by name.",
                remedy="The job lost a line: keep the frame, run replay_archive, report the bug.",
                columns=("lines", "loaded_rows", "ignored_lines", "rejected_lines"),
                sql="""
                select concat(
                    frame_id, ' has ', cast(lines as string), ' lines, of which ',
                    cast(loaded_rows + ignored_lines + rejected_lines as string), ' are known'
                ) as problem
                from {batch} where loaded_rows + ignored_lines + rejected_lines != lines
                """,
            ),
            _no_rows(
                "few_rejections",
                severity="warn",
                threshold=f"{REJECTED_PER_MILLE} of 1000 lines",
                meaning="Hardly a line is rejected; many are a change of the exchange's format.",
                remedy="Ask raw.rejections for reason and field; docs/errors.md explains each.",
                columns=("rejected_lines", "lines"),
                sql=f"""
                select concat(
                    cast(cast(sum(rejected_lines) as int64) as string), ' of ',
                    cast(cast(sum(lines) as int64) as string), ' lines rejected'
                ) as problem
                from {{batch}}
                having sum(rejected_lines) * 1000 > sum(lines) * {REJECTED_PER_MILLE}
                """,
            ),
        ),
    )


def candles(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of our candles, of whole days.

    The minutes are judged by themselves, all coarser candles by being rebuilt from them. A build
    that runs meanwhile has new minutes and old hours for a moment: candles that do not know of
    the newest build are left to the next check.
    """
    inside = window.whole_days.holds("opened_at")
    coarser = " union all ".join(
        f"select '{interval}' as kline_interval, {minutes} as minutes, *"
        f" from `marts`.`ohlcv_{interval}` where {inside}"
        for interval, minutes in COARSER.items()
    )
    return Suite(
        name="candles",
        table="marts.ohlcv_1m",
        query=(
            f"select market, symbol, opened_at, open, close, {_CANDLE_COLUMNS}, first_trade_id,"
            f" last_trade_id, built_at from `marts`.`ohlcv_1m` where {inside}"
        ),
        keys=("market", "symbol", "opened_at"),
        others=tuple(f"marts.ohlcv_{interval}" for interval in COARSER),
        expectations=(
            _has_rows("candles", "Run build_marts, then check raw_trades."),
            _unique("market", "symbol", "opened_at"),
            *_candle_truths("Run build_marts with a full refresh; then compare with the trades."),
            _no_rows(
                "minutes_rebuild_the_rest",
                severity="fail",
                threshold="0 candles",
                meaning="60 minutes rebuild the hour, 1440 the day: prices, sums and counts.",
                remedy="Run build_marts with a full refresh; the dirty window was too small.",
                columns=("open", "high", "low", "close", "volume", "quote_volume", "trades"),
                sql=f"""
                with minutes as (select * from {{batch}}),
                candles as ({coarser}),
                newest as (select max(built_at) as built_at from minutes)
                select concat(
                    candle.symbol, ' ', candle.kline_interval, ' ',
                    cast(candle.opened_at as string), ' has ',
                    cast(max(candle.trades) as string), ' trades, its minutes ',
                    cast(cast(coalesce(sum(minute.trades), 0) as int64) as string)
                ) as problem
                from candles as candle
                cross join newest
                left join minutes as minute
                    on candle.market = minute.market
                    and candle.symbol = minute.symbol
                    and minute.opened_at >= candle.opened_at
                    and minute.opened_at
                    < timestamp_add(candle.opened_at, interval candle.minutes minute)
                group by candle.market, candle.symbol, candle.kline_interval, candle.opened_at
                having not coalesce(
                    max(candle.trades) = sum(minute.trades)
                    and max(candle.volume) = sum(minute.volume)
                    and max(candle.quote_volume) = sum(minute.quote_volume)
                    and max(candle.taker_buy_volume) = sum(minute.taker_buy_volume)
                    and max(candle.high)
                    = max(if(candle.trades = 0 or minute.trades > 0, minute.high, null))
                    and max(candle.low)
                    = min(if(candle.trades = 0 or minute.trades > 0, minute.low, null))
                    and max(candle.open)
                    = max(if(minute.first_trade_id = candle.first_trade_id, minute.open, null))
                    and max(candle.close)
                    = max(if(minute.last_trade_id = candle.last_trade_id, minute.close, null)),
                    false
                )
                and not coalesce(
                    max(minute.built_at) = max(newest.built_at)
                    and max(candle.built_at) < max(newest.built_at),
                    false
                )
                """,
            ),
        ),
    )


def completeness(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of the days' completeness."""
    return Suite(
        name="completeness",
        table="marts.market_completeness",
        query=(
            "select market, symbol, traded_on, expected, present, missing, conflicts, verdict"
            f" from `marts`.`market_completeness` where {window.holds_date('traded_on')}"
        ),
        keys=("market", "symbol", "traded_on"),
        expectations=(
            _has_rows("days of symbols", "Run build_marts, then check raw_trades."),
            Expectation(
                name="no_day_is_incomplete",
                kind="ExpectColumnValuesToNotBeInSet",
                severity="fail",
                threshold="verdict is not INCOMPLETE",
                meaning="Trade ids have no hole that the exchange sent trades for.",
                remedy="Run repair_gaps; it fetches the missing ids or proves them absent.",
                columns=("verdict",),
                arguments={"value_set": ["INCOMPLETE"]},
            ),
            Expectation(
                name="no_conflicts",
                kind="ExpectColumnValuesToBeBetween",
                severity="fail",
                threshold="conflicts = 0",
                meaning="No trade id arrived with two prices or two quantities.",
                remedy="Compare the copies in raw.trades by frame_id; the raw archive is right.",
                columns=("conflicts",),
                arguments={"min_value": 0, "max_value": 0},
            ),
            _no_rows(
                "days_add_up",
                severity="fail",
                threshold="present + missing = expected",
                meaning="Ids that are there and ids that are not are all ids of the day.",
                remedy="Run build_marts with a full refresh; report the bug.",
                columns=("present", "missing", "expected"),
                sql="""
                select concat(symbol, ' ', cast(traded_on as string)) as problem
                from {batch} where present + missing != expected
                """,
            ),
        ),
    )


def reconciliation(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of our candles beside Binance's."""
    return Suite(
        name="reconciliation",
        table="marts.kline_reconciliation",
        query=(
            "select market, symbol, kline_interval, opened_at, is_equal, is_covered,"
            " difference_class from `marts`.`kline_reconciliation`"
            f" where {window.whole_days.holds('opened_at')}"
        ),
        keys=("market", "symbol", "kline_interval", "opened_at"),
        expectations=(
            _has_rows("compared candles", "Does the collector subscribe to klines?"),
            Expectation(
                name="no_difference_is_ours",
                kind="ExpectColumnValuesToNotBeInSet",
                severity="fail",
                threshold="difference_class is not 'ours'",
                meaning="A candle that our trades cover equals Binance's, or there is a reason.",
                remedy="dbt's test candles_differ_for_a_reason names the fields; report the bug.",
                columns=("difference_class",),
                arguments={"value_set": ["ours"]},
            ),
            _no_rows(
                "differences_are_classified",
                severity="fail",
                threshold="is_equal = (difference_class is null)",
                meaning="Each candle that differs has a class, and no other one has.",
                remedy="kline_reconciliation knows no reason for it: report the bug.",
                columns=("is_equal", "difference_class"),
                sql="""
                select concat(symbol, ' ', kline_interval, ' ', cast(opened_at as string))
                    as problem
                from {batch}
                where is_equal is null or is_equal != (difference_class is null)
                """,
            ),
            Expectation(
                name="differences_have_an_excuse",
                kind="ExpectColumnValuesToBeInSet",
                severity="warn",
                threshold=f"difference_class is one of {', '.join(DIFFERENCE_CLASSES)}",
                meaning="Candles differ at boundaries or by the exchange's doing only.",
                remedy=(
                    "missing trades: run repair_gaps; the first candle after a collector's first"
                    " start can't be whole."
                ),
                columns=("difference_class",),
                arguments={"value_set": list(DIFFERENCE_CLASSES)},
            ),
        ),
    )


SUITES: Final[tuple[Callable[[Window, timedelta], Suite], ...]] = (
    *(raw_trades, trades, klines, frames, candles, completeness, reconciliation),
)
SUITE_NAMES: Final = tuple(suite.__name__ for suite in SUITES)

_REPLAY: Final = "Find the frame, then run replay_archive; report the bug in the decoder."
_PAIR_NULLS: Final[Mapping[str, Any]] = {"ignore_row_if": "neither"}
# The body of a candle lies between its open and its close.
_CANDLE_COLUMNS: Final = (
    "high, least(open, close) as body_low, greatest(open, close) as body_high, low, volume,"
    " quote_volume, trades, taker_buy_volume, taker_buy_quote_volume"
)


def _candle_truths(remedy: str) -> Iterator[Expectation]:
    prices = "low <= open, close <= high: prices of a candle lie between its low and its high."
    yield _at_least("high", "body_high", prices, remedy)
    yield _at_least("body_low", "low", prices, remedy)
    yield _above_zero("low", remedy)
    for part, whole in (
        ("taker_buy_volume", "volume"),
        ("taker_buy_quote_volume", "quote_volume"),
    ):
        yield _at_least(whole, part, "Takers bought at most what was traded.", remedy)


def _has_rows(things: str, remedy: str) -> Expectation:
    return Expectation(
        name="has_rows",
        kind="ExpectTableRowCountToBeBetween",
        severity="warn",
        threshold="1 row",
        meaning=f"There are {things} in the window; without any, all else is true of nothing.",
        remedy=remedy,
        arguments={"min_value": 1},
    )


def _is_fresh(column: str, since: datetime, things: str) -> Expectation:
    return Expectation(
        name="is_fresh",
        kind="ExpectColumnMaxToBeBetween",
        severity="warn",
        threshold=f"since {since:%Y-%m-%d %H:%M:%S}Z",
        meaning=f"The newest {things} are not older than the setting stale_after_seconds allows.",
        remedy="watch_stream names the stage that stands still.",
        columns=(column,),
        arguments={"column": column, "min_value": since},
    )


def _above_zero(column: str, remedy: str) -> Expectation:
    return Expectation(
        name=f"{column}_is_positive",
        kind="ExpectColumnValuesToBeBetween",
        severity="fail",
        threshold=f"{column} > 0",
        meaning=f"Nothing is traded at a {column} of 0 or below.",
        remedy=remedy,
        columns=(column,),
        arguments={"min_value": 0, "strict_min": True},
    )


def _not_negative(column: str, remedy: str) -> Expectation:
    return Expectation(
        name=f"{column}_is_not_negative",
        kind="ExpectColumnValuesToBeBetween",
        severity="fail",
        threshold=f"{column} >= 0",
        meaning=f"Amounts such as {column} have no sign.",
        remedy=remedy,
        columns=(column,),
        arguments={"min_value": 0},
    )


def _at_least(larger: str, smaller: str, meaning: str, remedy: str) -> Expectation:
    return Expectation(
        name=f"{smaller}_up_to_{larger}",
        kind="ExpectColumnPairValuesAToBeGreaterThanB",
        severity="fail",
        threshold=f"{smaller} <= {larger}",
        meaning=meaning,
        remedy=remedy,
        columns=(larger, smaller),
        arguments={"or_equal": True, **_PAIR_NULLS},
    )


def _unique(*columns: str) -> Expectation:
    return Expectation(
        name="is_unique",
        kind="ExpectCompoundColumnsToBeUnique",
        severity="fail",
        threshold=f"one row per {', '.join(columns)}",
        meaning="Nothing is there twice: de-duplication and merging keep the grain.",
        remedy="Two builds overlapped: run build_marts with a full refresh, alone.",
        columns=columns,
    )


def _no_rows(
    name: str,
    *,
    severity: Severity,
    threshold: str,
    meaning: str,
    remedy: str,
    columns: tuple[str, ...],
    sql: str,
) -> Expectation:
    """Return an expectation by SQL, whose rows have one text column, `problem`."""
    return Expectation(
        name=name,
        kind="UnexpectedRowsExpectation",
        severity=severity,
        threshold=threshold,
        meaning=meaning,
        remedy=remedy,
        columns=columns,
        arguments={"unexpected_rows_query": " ".join(sql.split())},
    )


def _minutes(time: timedelta) -> str:
    return f"{time // timedelta(minutes=1)} minutes"
