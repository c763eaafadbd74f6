"""A made-up market with days of history: the rows and ledger that the job would have loaded.

Everything is made with numpy from a seed. Official candles come from `plugins.market_ops`, which
knows nothing of the warehouse; one aggregate stands for each trade.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.frames import DecodedFrame
from benchmarks.verify import decimals
from market_data.decode import to_microseconds
from market_data.layouts import Layout
from market_data.records import FrameEntry
from market_data.totals import exact_sum, times_by_symbol, totals_by_symbol
from plugins.market_ops.candles import INTERVALS, MINUTE_US, NUMERIC, TIMESTAMP, candles, coarser

# Between a quarter of a second of a market of 1,000 trades/s and a full frame.
_FRAME_LINES = 1_000
_PRICE_DECIMALS, _QUANTITY_DECIMALS = 2, 5
_SENT_US, _RECEIVED_US = 1_000, 20_000
_PRICES = ("open", "high", "low")
_SUMS = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
_IDS = ("first_trade_id", "last_trade_id")

Integers = npt.NDArray[np.int64]


class Market:
    """Trades in the order of time: Zipf over the symbols, ids consecutive per symbol.

    Args:
        symbols: number of symbols.
        seed: of all chance.
    """

    def __init__(self, symbols: int = 50, seed: int = 7) -> None:
        ranks = np.arange(1, symbols + 1)
        weights = 1 / ranks**1.05
        self._chance = np.random.default_rng(seed)
        self._weights = weights / weights.sum()
        self._names = pa.array([f"SYM{rank:03}USDT" for rank in ranks])
        self._ids = np.full(symbols, 1_000_000_000)
        self._prices = 6_100_000 // ranks

    def trades(self, start: datetime, span: timedelta, count: int) -> pa.Table:
        """Return so many trades of a span of time, going on where the last ones ended."""
        chance = self._chance
        symbols = chance.choice(len(self._ids), count, p=self._weights)
        times = np.sort(chance.integers(0, span // timedelta(milliseconds=1), count))
        ids, prices = self._continue(symbols)
        quantities = chance.integers(1, 100_000, count)
        return pa.table(
            {
                "symbol": self._names.take(pa.array(symbols)),
                "trade_id": ids,
                "price": _numeric(prices, _PRICE_DECIMALS),
                "quantity": _numeric(quantities, _QUANTITY_DECIMALS),
                "quote_quantity": _numeric(
                    prices * quantities, _PRICE_DECIMALS + _QUANTITY_DECIMALS
                ),
                "is_buyer_maker": chance.integers(0, 2, count) == 1,
                **_times("traded_at", to_microseconds(start) + times * 1000),
            }
        )

    def _continue(self, symbols: Integers) -> tuple[Integers, Integers]:
        """Return ids, and prices that walk by a step at most, of trades of these symbols."""
        order = np.argsort(symbols, kind="stable")
        counts = np.bincount(symbols, minlength=len(self._ids))
        starts = np.cumsum(counts) - counts
        moves = np.append(0, np.cumsum(self._chance.integers(-1, 2, len(symbols))))
        ids, prices = np.empty_like(symbols), np.empty_like(symbols)
        ids[order] = np.arange(len(symbols)) + np.repeat(self._ids - starts, counts)
        prices[order] = moves[1:] + np.repeat(self._prices - moves[starts], counts)
        self._ids += counts
        self._prices += moves[starts + counts] - moves[starts]
        return ids, prices


def aggregates(trades: pa.Table) -> pa.Table:
    """Return an aggregate for each trade."""
    ids = trades["trade_id"]
    columns = {"agg_trade_id": ids, "first_trade_id": ids, "last_trade_id": ids}
    for name, column in columns.items():
        trades = trades.append_column(name, column)
    return trades


def minutes(trades: pa.Table) -> pa.Table:
    """Return the one-minute candles of trades."""
    ordered = trades.sort_by([("symbol", "ascending"), ("trade_id", "ascending")])
    return candles(ordered.combine_chunks().to_batches())


def klines(traded: pa.Table, since: datetime, until: datetime) -> pa.Table:
    """Return the official candles that closed after `since` and up to `until`, by closing time.

    Args:
        traded: one-minute candles; spans without trades get an empty candle.
        since: what had closed then is left out.
        until: end of the trades, at a full minute.
    """
    found = pa.concat_tables(_klines(traded, interval, until) for interval in INTERVALS)
    closed = pc.greater(found["event_at"], pa.scalar(since, TIMESTAMP))
    return found.filter(closed).sort_by("event_at")


def _klines(traded: pa.Table, interval: str, until: datetime) -> pa.Table:
    length = INTERVALS[interval] * MINUTE_US
    known = coarser(traded, interval)
    starts = known["opened_at"].cast(pa.int64()).to_numpy()
    symbols = known["symbol"].to_numpy()
    following = np.append(starts[1:], 0)
    following[np.append(symbols[1:] != symbols[:-1], True)] = to_microseconds(until)
    # each candle and the empty ones after it, as far as they have closed
    counts = (following - starts) // length
    places = np.repeat(np.arange(len(starts)), counts)
    number = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows, is_empty = known.take(pa.array(places)), pa.array(number > 0)
    opened_at = starts[places] + number * length
    columns = {name: rows[name] for name in rows.column_names}
    columns |= {name: pc.if_else(is_empty, rows["close"], rows[name]) for name in _PRICES}
    columns |= {
        name: pc.if_else(is_empty, pa.scalar(0, rows[name].type), rows[name]) for name in _SUMS
    }
    columns |= {name: pc.if_else(is_empty, -1, rows[name]) for name in _IDS}
    columns |= {
        "kline_interval": pa.repeat(interval, len(places)),
        "is_closed": pa.repeat(True, len(places)),
        **_times("closed_at", opened_at + length - 1000),
        "opened_at": pa.array(opened_at).cast(TIMESTAMP),
    }
    return pa.table(columns)


class Frames:
    """Cuts rows into frames with their entries in the ledger, as the job has them."""

    def __init__(self) -> None:
        self._sequence = 0

    def cut(
        self, rows: pa.Table, layout: Layout, loaded_at: datetime | None = None
    ) -> Iterator[DecodedFrame]:
        """Yield the frames of rows in the order of their arrival.

        Args:
            rows: the layout's columns, but for those that tell the origin.
            layout: of the channel.
            loaded_at: when they are loaded; a second after their arrival if not given.
        """
        rows = rows.combine_chunks()
        for start in range(0, len(rows), _FRAME_LINES):
            self._sequence += 1
            yield self._frame(rows.slice(start, _FRAME_LINES), layout, loaded_at)

    def _frame(self, rows: pa.Table, layout: Layout, loaded_at: datetime | None) -> DecodedFrame:
        frame_id, count = f"bench/1/{self._sequence}", len(rows)
        received = pc.min_max(rows["received_at"]).as_py()
        loaded_at = loaded_at or received["max"] + timedelta(seconds=1)
        origin = {
            **{"market": "spot", "source": "stream", "collector": "bench", "frame_id": frame_id},
            "loaded_at": pa.scalar(loaded_at, TIMESTAMP),
        }
        columns = {
            **{name: rows[name].combine_chunks() for name in rows.column_names},
            **{name: pa.repeat(value, count) for name, value in origin.items()},
        }
        schema = layout.table.arrow_schema
        batch = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
        totals = totals_by_symbol(batch, layout)
        entry = FrameEntry(
            frame_id=frame_id,
            market="spot",
            channel=layout.channel,
            collector="bench",
            epoch=1,
            sequence=self._sequence,
            source="stream",
            header_lines=count,
            lines=count,
            loaded_rows=count,
            ignored_lines=0,
            rejected_lines=0,
            body_bytes=200 * count,
            message_bytes=20 * count,
            opened_at=received["min"],
            closed_at=received["max"],
            published_at=received["max"] + timedelta(milliseconds=50),
            loaded_at=loaded_at,
            sum_ids=exact_sum([row.sum_ids for row in totals]),
            sum_quantity=exact_sum([row.sum_quantity for row in totals]),
            sum_quote_quantity=exact_sum([row.sum_quote_quantity for row in totals]),
        )
        times = times_by_symbol(batch, layout)
        return DecodedFrame(layout.table, batch, entry, totals, times, [])


def _times(name: str, at_us: Integers) -> dict[str, pa.Array]:
    """Return the column of an exchange's times, and when the message was sent and received."""
    columns = {name: at_us, "event_at": at_us + _SENT_US, "received_at": at_us + _RECEIVED_US}
    return {key: pa.array(column).cast(TIMESTAMP) for key, column in columns.items()}


def _numeric(values: Integers, scale: int) -> pa.Array:
    return decimals(values, scale).cast(NUMERIC)
