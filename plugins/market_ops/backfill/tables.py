"""Tables: a daily file's rows as rows of the raw tables, a block at a time. Exact: no float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final

from .minutes import NOTHING, Minute

if TYPE_CHECKING:
    import pyarrow as pa

MARKET: Final = "spot"
SOURCE: Final = "archive"
INTERVAL: Final = "1m"
CHANNELS: Final = {"trades": "trade", "aggTrades": "aggTrade", "klines": "kline"}
TABLES: Final = {"trades": "trades", "aggTrades": "agg_trades", "klines": "klines"}
TIMES: Final = {"trades": "traded_at", "aggTrades": "traded_at", "klines": "opened_at"}
# What stands for an id in control totals; of klines the time of the message.
IDS: Final = {"trades": "trade_id", "aggTrades": "agg_trade_id", "klines": "closed_at"}

_OWN: Final = {
    "trades": (
        *("market", "symbol", "trade_id", "price", "quantity", "quote_quantity"),
        *("is_buyer_maker", "traded_at", "event_at"),
    ),
    "aggTrades": (
        *("market", "symbol", "agg_trade_id", "price", "quantity", "first_trade_id"),
        *("last_trade_id", "is_buyer_maker", "traded_at", "event_at"),
    ),
    "klines": (
        *("market", "symbol", "kline_interval", "opened_at", "closed_at", "first_trade_id"),
        *("last_trade_id", "open", "high", "low", "close", "volume", "quote_volume", "trades"),
        *("taker_buy_volume", "taker_buy_quote_volume", "is_closed", "event_at"),
    ),
}
_RECEIVED: Final = ("received_at", "source", "collector", "frame_id", "loaded_at")


@dataclass(frozen=True)
class Day:
    """One kind of file of one symbol and UTC day: the unit that is loaded, as one frame.

    The frame's id is made of them, so that a repetition replaces what was there.
    """

    symbol: str
    kind: str
    day: date

    @property
    def collector(self) -> str:
        """What stands for the collector in the ledger."""
        return f"archive.{self.symbol}.{self.kind}"

    @property
    def start(self) -> datetime:
        """Midnight."""
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)

    @property
    def epoch(self) -> int:
        """Midnight in µs since 1970."""
        return int(self.start.timestamp()) * 1_000_000

    @property
    def frame_id(self) -> str:
        """The id of the frame."""
        return f"{self.collector}/{self.epoch}/1"


def with_quote_quantity(table: pa.Table) -> pa.Table:
    """Return trades with `quote_quantity`: price x quantity truncated to 8 decimals."""
    import pyarrow as pa
    import pyarrow.compute as pc

    price, quantity = table["price"], table["quantity"]
    try:
        product = pc.multiply(price.cast(pa.decimal128(18, 8)), quantity.cast(pa.decimal128(19, 8)))
        quote = pc.round(product, ndigits=8, round_mode="towards_zero").cast(price.type)
    except pa.ArrowInvalid:  # a number too large for this way
        quote = pa.array(
            [
                _truncated(one, other)
                for one, other in zip(price.to_pylist(), quantity.to_pylist(), strict=True)
            ],
            price.type,
        )
    if "quote_quantity" in table.column_names:
        table = table.drop_columns(["quote_quantity"])
    return table.append_column("quote_quantity", quote)


def _truncated(price: Decimal, quantity: Decimal) -> Decimal:
    with localcontext() as context:
        context.prec = 80
        return (price * quantity).quantize(Decimal("1e-8"), ROUND_DOWN)


def counted(table: pa.Table, kind: str) -> pa.Table:
    """Return trades or aggregate trades with what `minutes.Minutes` adds up."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    table = with_quote_quantity(table)
    if kind == "trades":
        first = last = table["trade_id"]
        trades = pa.array(np.ones(table.num_rows, np.int64))
    else:
        first, last = table["first_trade_id"], table["last_trade_id"]
        trades = pc.add(pc.subtract(last, first), pa.scalar(1, pa.int64()))
    for name, column in (("trades", trades), ("first_id", first), ("last_id", last)):
        table = table.append_column(name, column)
    return table


def with_ids(klines: pa.Table, traded: Mapping[datetime, Minute]) -> pa.Table:
    """Return klines with the first and last trade ids, which the archive's do not have."""
    import pyarrow as pa

    minutes = [traded.get(start, NOTHING) for start in klines["opened_at"].to_pylist()]
    firsts = pa.array([minute.first_id for minute in minutes], pa.int64())
    lasts = pa.array([minute.last_id for minute in minutes], pa.int64())
    return klines.append_column("first_trade_id", firsts).append_column("last_trade_id", lasts)


def raw_rows(table: pa.Table, unit: Day, received_at: datetime) -> pa.Table:
    """Return rows of the raw table, in its order of columns.

    The archive has no event time: it is the trade's time, of a kline its end. `loaded_at` is the
    time of the download too, until the swap knows better.

    Args:
        table: what `rows.Reader` read, with the columns that are computed.
        unit: where it is from.
        received_at: when it was downloaded.
    """
    import pyarrow as pa

    time = pa.timestamp("us", tz="UTC")
    constants: dict[str, Any] = {
        "market": pa.scalar(MARKET),
        "symbol": pa.scalar(unit.symbol),
        "kline_interval": pa.scalar(INTERVAL),
        "is_closed": pa.scalar(True),
        "received_at": pa.scalar(received_at, time),
        "source": pa.scalar(SOURCE),
        "collector": pa.scalar(unit.collector),
        "frame_id": pa.scalar(unit.frame_id),
        "loaded_at": pa.scalar(received_at, time),
    }
    event = "closed_at" if unit.kind == "klines" else "traded_at"

    def column(name: str) -> Any:
        if name == "event_at":
            return table[event]
        if name in constants:
            return pa.repeat(constants[name], table.num_rows)
        return table[name]

    return pa.table({name: column(name) for name in columns(unit.kind)})


def columns(kind: str) -> list[str]:
    """Return the columns of a kind's raw table, in order."""
    return [*_OWN[kind], *_RECEIVED]
