"""Layouts: how a payload's keys become a record's columns, declared once per channel.

Two interpreters read them: `market_data.decode` takes one line with every check spelt out,
`market_data.batches` takes a whole frame at once. A property test holds that they agree.

Source of keys and types: binance-protocol, section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from market_data.channels import EXCHANGE_INFO, HOLE
from market_data.symbols import flatten
from market_data.tables import AGG_TRADES, BOOK_TICKERS, HOLES, KLINES, SYMBOLS, TRADES, Table


class Kind(Enum):
    """What a value must be."""

    ID = "an integer from 0"
    ID_OR_NONE = "an integer from -1"
    TIME = "a time in ms or µs between 2009 and 2100"
    POSITIVE = "a decimal above 0, as a string"
    DECIMAL = "a decimal from 0, as a string"
    FLAG = "true or false"
    TEXT = "a short text"
    NAME = "a name such as BTC, in any script"
    WORDS = "a text"


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a payload and the column that it becomes; null if it is optional and missing."""

    column: str
    key: str
    kind: Kind
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """How the payloads of one channel become rows of one table.

    Attributes:
        channel: the channel's name.
        table: the table that its rows belong to.
        event: value of the payload's `e`; None for payloads that have none.
        nested: key of the object that holds the fields; None when the payload itself does.
        fields: the keys read from that object.
        outer_fields: the keys read from the payload around it.
        line_fields: the keys read from the line around the payload.
        symbol_key: key of the symbol.
        prepare: makes the payload flat before it is read; None when it is flat already.
        order: the payload's keys in the order in which Binance writes them; empty where messages
            are rare or nested, and are decoded line by line.
        id_column: column whose values identify a row within its symbol, for control totals; empty
            for channels without.
        quantity_columns: quantity and quote quantity columns, for control totals.
    """

    channel: str
    table: Table
    event: str | None
    nested: str | None
    fields: tuple[Field, ...]
    outer_fields: tuple[Field, ...] = ()
    line_fields: tuple[Field, ...] = ()
    symbol_key: str = "s"
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    order: str = ""
    id_column: str = ""
    quantity_columns: tuple[str, str] | None = None


TRADE: Final = Layout(
    channel="trade",
    table=TRADES,
    event="trade",
    nested=None,
    fields=(
        Field("trade_id", "t", Kind.ID),
        Field("price", "p", Kind.POSITIVE),
        Field("quantity", "q", Kind.POSITIVE),
        Field("is_buyer_maker", "m", Kind.FLAG),
        Field("traded_at", "T", Kind.TIME),
        Field("event_at", "E", Kind.TIME),
    ),
    order="eEstpqTmM",
    id_column="trade_id",
    quantity_columns=("quantity", "quote_quantity"),
)

AGG_TRADE: Final = Layout(
    channel="aggTrade",
    table=AGG_TRADES,
    event="aggTrade",
    nested=None,
    fields=(
        Field("agg_trade_id", "a", Kind.ID),
        Field("price", "p", Kind.POSITIVE),
        Field("quantity", "q", Kind.POSITIVE),
        Field("first_trade_id", "f", Kind.ID),
        Field("last_trade_id", "l", Kind.ID),
        Field("is_buyer_maker", "m", Kind.FLAG),
        Field("traded_at", "T", Kind.TIME),
        Field("event_at", "E", Kind.TIME),
    ),
    order="eEsapqflTmM",
    id_column="agg_trade_id",
)

KLINE: Final = Layout(
    channel="kline",
    table=KLINES,
    event="kline",
    nested="k",
    fields=(
        Field("kline_interval", "i", Kind.TEXT),
        Field("opened_at", "t", Kind.TIME),
        Field("closed_at", "T", Kind.TIME),
        Field("first_trade_id", "f", Kind.ID_OR_NONE),
        Field("last_trade_id", "L", Kind.ID_OR_NONE),
        Field("open", "o", Kind.DECIMAL),
        Field("high", "h", Kind.DECIMAL),
        Field("low", "l", Kind.DECIMAL),
        Field("close", "c", Kind.DECIMAL),
        Field("volume", "v", Kind.DECIMAL),
        Field("quote_volume", "q", Kind.DECIMAL),
        Field("trades", "n", Kind.ID),
        Field("taker_buy_volume", "V", Kind.DECIMAL),
        Field("taker_buy_quote_volume", "Q", Kind.DECIMAL),
        Field("is_closed", "x", Kind.FLAG),
    ),
    outer_fields=(Field("event_at", "E", Kind.TIME),),
    id_column="event_at",
)

BOOK_TICKER: Final = Layout(
    channel="bookTicker",
    table=BOOK_TICKERS,
    event=None,
    nested=None,
    fields=(
        Field("update_id", "u", Kind.ID),
        Field("bid_price", "b", Kind.DECIMAL),
        Field("bid_quantity", "B", Kind.DECIMAL),
        Field("ask_price", "a", Kind.DECIMAL),
        Field("ask_quantity", "A", Kind.DECIMAL),
    ),
    order="usbBaA",
    id_column="update_id",
)

SYMBOL: Final = Layout(
    channel=EXCHANGE_INFO,
    table=SYMBOLS,
    event=None,
    nested=None,
    fields=(
        Field("status", "status", Kind.TEXT),
        Field("base_asset", "baseAsset", Kind.NAME),
        Field("quote_asset", "quoteAsset", Kind.NAME),
        Field("tick_size", "tickSize", Kind.DECIMAL, is_optional=True),
        Field("step_size", "stepSize", Kind.DECIMAL, is_optional=True),
        Field("min_notional", "minNotional", Kind.DECIMAL, is_optional=True),
        Field("is_spot_allowed", "isSpotTradingAllowed", Kind.FLAG),
        Field("permissions", "permissions", Kind.WORDS),
    ),
    line_fields=(Field("listed_symbols", "listed", Kind.ID),),
    symbol_key="symbol",
    prepare=flatten,
)

HOLE_RECORD: Final = Layout(
    channel=HOLE,
    table=HOLES,
    event=None,
    nested=None,
    fields=(
        Field("run_id", "run_id", Kind.WORDS),
        Field("channel", "channel", Kind.TEXT),
        Field("first_missing_id", "first_missing_id", Kind.ID),
        Field("last_missing_id", "last_missing_id", Kind.ID),
        Field("missing", "missing", Kind.ID),
        Field("found_at", "found_at", Kind.TIME),
        Field("closed_at", "closed_at", Kind.TIME, is_optional=True),
        Field("outcome", "outcome", Kind.TEXT),
        Field("cause", "cause", Kind.TEXT),
        Field("witnesses", "witnesses", Kind.WORDS),
        Field("frames", "frames", Kind.WORDS),
        Field("detail", "detail", Kind.WORDS),
    ),
    symbol_key="symbol",
)

LAYOUTS: Final[dict[str, Layout]] = {
    layout.channel: layout for layout in (TRADE, AGG_TRADE, KLINE, BOOK_TICKER, SYMBOL, HOLE_RECORD)
}

# Binance opened in July 2017; a recorder's or exchange's clock before 2009 or after 2100 is broken.
EARLIEST_US: Final = 1_230_768_000_000_000
LATEST_US: Final = 4_102_444_800_000_000
# A count of ms from 1970 reaches this in the year 5138, a count of µs passed it in 1973.
MICROSECONDS_FROM: Final = 100_000_000_000_000
MAX_ID: Final = 2**63 - 1
MAX_TEXT: Final = 64
