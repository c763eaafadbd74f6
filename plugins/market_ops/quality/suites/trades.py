"""Trades after de-duplication."""

# ruff: noqa: S608 - what is put into SQL are constants of this module and times

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ..truths import Suite, has_rows, no_rows, unique
from ..window import Window

# Rows that were loaded this long before a build are in it.
BUILT_AFTER: Final = timedelta(minutes=10)
_MINUTES: Final = BUILT_AFTER // timedelta(minutes=1)


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
            has_rows("de-duplicated trades", "Run build_marts, then check raw_trades."),
            unique("market", "symbol", "trade_id"),
            no_rows(
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
            no_rows(
                "no_trade_is_lost",
                severity="fail",
                threshold="0 trades",
                meaning=f"Trades loaded {_MINUTES} minutes before the last build are built.",
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
                        newest.built_at, interval {_MINUTES} minute
                    )
                    and built.trade_id is null
                """,
            ),
        ),
    )
