"""The records: one frozen class a kind of row, one annotated field a column.

BigQuery schemas, Arrow schemas and the dbt source columns are generated from these classes
(`market_data.tables`); a test fails when the generated files differ. The first line of a class's
docstring is the table's description, the text in each `Annotated` the column's.

Exactness: prices and quantities are `Decimal` (BigQuery NUMERIC: 29 integer digits, 9 decimals;
Binance sends 8). Times are aware UTC datetimes with microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Where a row came from and when it passed each station; shared by all market records."""

    received_at: Annotated[
        datetime, "When the collector read the message from the socket (its own clock)."
    ]
    source: Annotated[str, "How it reached us: stream, rest, archive."]
    collector: Annotated[str, "Id of the collector that received it."]
    frame_id: Annotated[str, "Frame that carried it; joins ops.frames."]
    loaded_at: Annotated[
        datetime, "When the loading job put it into BigQuery; drives incremental models."
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade(Received):
    """One row per trade message received; a trade id may repeat, staging de-duplicates by id."""

    market: Annotated[str, "Market of the exchange: spot."]
    symbol: Annotated[str, "Symbol as Binance spells it, for example BTCUSDT."]
    trade_id: Annotated[int, "Trade id, consecutive per symbol: a hole in the ids is a loss."]
    price: Annotated[Decimal, "Price in the quote asset, exact."]
    quantity: Annotated[Decimal, "Quantity in the base asset, exact."]
    quote_quantity: Annotated[
        Decimal, "price x quantity truncated to 8 decimals, as Binance's quoteQty is."
    ]
    is_buyer_maker: Annotated[bool, "True when the buyer was the maker (the taker sold)."]
    traded_at: Annotated[datetime, "Trade time at the exchange; many trades share a millisecond."]
    event_at: Annotated[datetime, "When the exchange sent the message."]


@dataclass(frozen=True, slots=True, kw_only=True)
class AggTrade(Received):
    """One row per aggregate trade message: fills of one taker order at one price."""

    market: Annotated[str, "Market of the exchange: spot."]
    symbol: Annotated[str, "Symbol as Binance spells it, for example BTCUSDT."]
    agg_trade_id: Annotated[int, "Aggregate trade id, consecutive per symbol."]
    price: Annotated[Decimal, "Price in the quote asset, exact."]
    quantity: Annotated[Decimal, "Summed quantity in the base asset, exact."]
    first_trade_id: Annotated[int, "First trade id of the aggregate."]
    last_trade_id: Annotated[int, "Last trade id of the aggregate."]
    is_buyer_maker: Annotated[bool, "True when the buyer was the maker (the taker sold)."]
    traded_at: Annotated[datetime, "Trade time at the exchange."]
    event_at: Annotated[datetime, "When the exchange sent the message."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kline(Received):
    """One row per kline message: a cumulative snapshot, the last one of a candle counts."""

    market: Annotated[str, "Market of the exchange: spot."]
    symbol: Annotated[str, "Symbol as Binance spells it, for example BTCUSDT."]
    kline_interval: Annotated[str, "Interval as Binance spells it: 1s 1m 3m 5m ... 1d 1w 1M."]
    opened_at: Annotated[datetime, "Start of the candle, UTC, inclusive."]
    closed_at: Annotated[datetime, "End of the candle, UTC, inclusive (Binance's T)."]
    first_trade_id: Annotated[int, "First trade id in the candle; -1 without trades."]
    last_trade_id: Annotated[int, "Last trade id in the candle; -1 without trades."]
    open: Annotated[Decimal, "Price of the first trade by id; the previous close without trades."]
    high: Annotated[Decimal, "Highest price."]
    low: Annotated[Decimal, "Lowest price."]
    close: Annotated[Decimal, "Price of the last trade by id."]
    volume: Annotated[Decimal, "Volume in the base asset."]
    quote_volume: Annotated[Decimal, "Volume in the quote asset."]
    trades: Annotated[int, "Number of trades."]
    taker_buy_volume: Annotated[Decimal, "Base volume of trades whose taker bought."]
    taker_buy_quote_volume: Annotated[Decimal, "Quote volume of trades whose taker bought."]
    is_closed: Annotated[bool, "True for the closing snapshot (Binance's x)."]
    event_at: Annotated[datetime, "When the exchange sent the message."]


@dataclass(frozen=True, slots=True, kw_only=True)
class BookTicker(Received):
    """One row per best bid and ask update; Binance sends no time with it, only an update id."""

    market: Annotated[str, "Market of the exchange: spot."]
    symbol: Annotated[str, "Symbol as Binance spells it, for example BTCUSDT."]
    update_id: Annotated[int, "Order book update id, growing per symbol."]
    bid_price: Annotated[Decimal, "Best bid price; 0 when there is no bid."]
    bid_quantity: Annotated[Decimal, "Quantity at the best bid."]
    ask_price: Annotated[Decimal, "Best ask price; 0 when there is no ask."]
    ask_quantity: Annotated[Decimal, "Quantity at the best ask."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol(Received):
    """One row per snapshot and symbol that it brought news of: the entry in exchangeInfo.

    The rows of one collector with one `received_at` are of one snapshot. A collector sends all
    entries at first, then those that changed, and all again when one has gone: only a snapshot
    with as many symbols as `listed_symbols` says can prove that a symbol is not in it.
    """

    market: Annotated[str, "Market of the exchange: spot."]
    symbol: Annotated[str, "Symbol as Binance spells it, for example BTCUSDT."]
    status: Annotated[str, "TRADING, END_OF_DAY, HALT, BREAK or CANCEL_ONLY."]
    base_asset: Annotated[str, "Asset that is bought and sold, for example BTC."]
    quote_asset: Annotated[str, "Asset that prices are in, for example USDT."]
    tick_size: Annotated[Decimal | None, "Smallest step of a price; null without such a filter."]
    step_size: Annotated[Decimal | None, "Smallest step of a quantity; null without such a filter."]
    min_notional: Annotated[
        Decimal | None, "Smallest price x quantity of an order; null without such a filter."
    ]
    is_spot_allowed: Annotated[bool, "True when spot trading is allowed at all."]
    permissions: Annotated[
        str,
        "Permissions to trade it, one of each set: SPOT,MARGIN; sets are separated by semicolons,"
        " account groups (TRD_GRP_...) left out.",
    ]
    listed_symbols: Annotated[int, "Number of symbols in the whole answer of exchangeInfo."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One row per item that could not be used: the original bytes and why."""

    market: Annotated[str | None, "Market, where known."]
    channel: Annotated[str | None, "Channel, where known."]
    symbol: Annotated[str | None, "Symbol, where it could be read."]
    stage: Annotated[str, "Where it failed: frame (the whole message) or line (one of its lines)."]
    reason: Annotated[str, "Why, from a closed set; docs/errors.md explains each."]
    field: Annotated[str | None, "Name of the offending field, as Binance spells it."]
    value: Annotated[str | None, "The offending value, cut to 256 characters."]
    detail: Annotated[str, "A sentence for people."]
    exception_class: Annotated[str | None, "Class of the exception, where there was one."]
    payload: Annotated[bytes, "The original bytes; cut to 1 MiB, then archived_in has them whole."]
    payload_bytes: Annotated[int, "Size of the original bytes."]
    archived_in: Annotated[str | None, "gs:// address of the whole bytes, when they were cut."]
    received_at: Annotated[datetime | None, "When the collector received it, where known."]
    collector: Annotated[str | None, "Id of the collector, where known."]
    frame_id: Annotated[str | None, "Frame that carried it, where known."]
    line_number: Annotated[int | None, "Line in the frame, from 1, for the stage line."]
    rejected_at: Annotated[datetime, "When it was rejected."]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameEntry:
    """One row per frame loaded: the transport ledger, whose sequences must have no hole."""

    frame_id: Annotated[str, "Collector, epoch and sequence in one: unique for ever."]
    market: Annotated[str, "Market of the exchange."]
    channel: Annotated[str, "Channel whose lines the frame carries."]
    collector: Annotated[str, "Id of the collector that sealed it."]
    epoch: Annotated[int, "Start of the collector's life, in microseconds since 1970."]
    sequence: Annotated[int, "Consecutive number of the frame in its epoch, from 1."]
    source: Annotated[str, "How its lines reached us: stream, rest, archive."]
    header_lines: Annotated[int, "Number of lines that the collector says it put in."]
    lines: Annotated[int, "Number of lines found."]
    loaded_rows: Annotated[int, "Lines that became rows."]
    ignored_lines: Annotated[int, "Lines that are archived and not loaded, by a named decision."]
    rejected_lines: Annotated[int, "Lines that became rejections."]
    body_bytes: Annotated[int, "Size of the lines before compression."]
    message_bytes: Annotated[int, "Size of the Pub/Sub message's data."]
    opened_at: Annotated[datetime, "When the first line of the frame was received."]
    closed_at: Annotated[datetime, "When the last line of the frame was received."]
    published_at: Annotated[datetime, "When Pub/Sub took it (its publish time)."]
    loaded_at: Annotated[datetime, "When BigQuery had acknowledged its rows."]
    sum_ids: Annotated[Decimal | None, "Sum of the ids of the loaded rows; null without ids."]
    sum_quantity: Annotated[Decimal | None, "Sum of quantity; null for channels without one."]
    sum_quote_quantity: Annotated[
        Decimal | None, "Sum of quote quantity; null for channels without one."
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSymbol:
    """One row per frame and symbol: control totals, equal at every stage or a frame is named."""

    frame_id: Annotated[str, "Frame; joins ops.frames."]
    market: Annotated[str, "Market of the exchange."]
    channel: Annotated[str, "Channel whose lines the frame carries."]
    symbol: Annotated[str, "Symbol as Binance spells it."]
    first_id: Annotated[int, "Smallest id in the frame."]
    last_id: Annotated[int, "Largest id in the frame."]
    first_at: Annotated[datetime, "Earliest of the times that the rows' table is partitioned by."]
    last_at: Annotated[datetime, "Latest of the times that the rows' table is partitioned by."]
    count: Annotated[int, "Number of loaded rows."]
    sum_ids: Annotated[Decimal, "Sum of the ids."]
    sum_quantity: Annotated[Decimal | None, "Sum of quantity; null for channels without one."]
    sum_quote_quantity: Annotated[
        Decimal | None, "Sum of quote quantity; null for channels without one."
    ]
    loaded_at: Annotated[datetime, "When BigQuery had acknowledged the frame's rows."]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityResult:
    """One row per expectation and check: what was expected, what was found, how much it matters.

    All rows of a check have one `checked_at`; a run that is repeated checks again, and its newest
    check counts.
    """

    run_id: Annotated[str, "Airflow's id of the run of check_quality."]
    suite: Annotated[str, "Suite, for example raw_trades."]
    expectation: Annotated[str, "Expectation, unique in its suite; docs/quality.md lists all."]
    table_name: Annotated[str, "Dataset and table that it is about."]
    column_name: Annotated[str, "Columns that it is about, separated by commas; may be empty."]
    severity: Annotated[str, "fail: stops what depends on the data; warn: is recorded only."]
    is_success: Annotated[bool, "True when it holds in the window."]
    observed: Annotated[
        str, "What was found, exact, with examples; begins with 'not computed' after an error."
    ]
    threshold: Annotated[str, "What the observed value is held against."]
    meaning: Annotated[str, "A sentence that says what is true of good data."]
    remedy: Annotated[str, "A sentence that says what to do when it is not."]
    window_start: Annotated[datetime, "Start of the time that was looked at, inclusive."]
    window_end: Annotated[datetime, "End of the time that was looked at, exclusive."]
    checked_at: Annotated[datetime, "When the check began."]
    link: Annotated[str, "Address of the suite's page in Data Docs; empty without one."]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoleRecord(Received):
    """One row per attempt at a range of missing ids: why they were missing, what became of it.

    A hole may take several rows: each has one outcome for all ids of its range. The newest row of
    an id counts. Collectors send theirs as lines of the channel hole; repair_gaps appends its own,
    which no frame carried.
    """

    run_id: Annotated[
        str, "Airflow's id of the run of repair_gaps, or the collector and its epoch."
    ]
    market: Annotated[str, "Market of the exchange: spot."]
    channel: Annotated[str, "Whose ids are missing: trade or aggTrade."]
    symbol: Annotated[str, "Symbol as Binance spells it, for example BTCUSDT."]
    first_missing_id: Annotated[int, "First id of the range."]
    last_missing_id: Annotated[int, "Last id of the range, inclusive."]
    missing: Annotated[int, "Number of ids in the range."]
    found_at: Annotated[datetime, "When the hole was found: by the collector, or by the run."]
    closed_at: Annotated[
        datetime | None, "When the outcome was certain; null when it failed or was handed over."
    ]
    outcome: Annotated[
        str, "healed, absent_at_source, failed, or handed_over by a collector to repair_gaps."
    ]
    cause: Annotated[
        str,
        "disconnect, restart, dropped (spool full), unreadable (a broken message beside it), or"
        " unknown.",
    ]
    source: Annotated[
        str, "Where the ids came from, or who said that they are absent: rest, archive or stream."
    ]
    witnesses: Annotated[str, "Who says that ids are absent, and how; empty where they are not."]
    frames: Annotated[str, "Frames that carried them, separated by commas; may be empty."]
    detail: Annotated[str, "A sentence for people; why, when it failed or was handed over."]


MarketRecord = Trade | AggTrade | Kline | BookTicker | Symbol | HoleRecord
