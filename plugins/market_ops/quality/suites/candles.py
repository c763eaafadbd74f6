"""Our candles."""

# ruff: noqa: S608 - what is put into SQL are constants of this module and times

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ..truths import Suite, has_rows, no_rows, unique
from ..window import Window
from .of_candles import CANDLE_COLUMNS, candle_truths

COARSER: Final = {"5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}


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
            f"select market, symbol, opened_at, open, close, {CANDLE_COLUMNS}, first_trade_id,"
            f" last_trade_id, built_at from `marts`.`ohlcv_1m` where {inside}"
        ),
        keys=("market", "symbol", "opened_at"),
        others=tuple(f"marts.ohlcv_{interval}" for interval in COARSER),
        expectations=(
            has_rows("candles", "Run build_marts, then check raw_trades."),
            unique("market", "symbol", "opened_at"),
            *candle_truths("Run build_marts with a full refresh; then compare with the trades."),
            no_rows(
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
