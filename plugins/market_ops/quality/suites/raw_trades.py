"""Trades as they were loaded."""

# ruff: noqa: S608 - what is put into SQL are constants of this module and times

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ..truths import (
    PAIR_NULLS,
    Expectation,
    Suite,
    above_zero,
    has_rows,
    is_fresh,
    no_rows,
    not_negative,
)
from ..window import Window, sql_time

REPLAY: Final = "Find the frame, then run replay_archive; report the bug in the decoder."


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
            " received_at, frame_id from `raw`.`trades`"
            f" where {around.holds('traded_at')} and {window.is_settled}"
        ),
        keys=("market", "symbol", "trade_id"),
        others=("ops.frame_symbols",),
        expectations=(
            has_rows("trades", "Is the collector alive, the job running? See watch_stream."),
            is_fresh("traded_at", window.end - stale_after, "trades"),
            above_zero("price", REPLAY),
            above_zero("quantity", REPLAY),
            not_negative("quote_quantity", REPLAY),
            Expectation(
                name="received_after_traded",
                kind="ExpectColumnPairValuesAToBeGreaterThanB",
                severity="warn",
                threshold="99 % of rows",
                meaning="A trade is received after it was made, or a clock is wrong.",
                remedy="Check the collector machine's clock (chrony, NTP).",
                columns=("received_at", "traded_at"),
                arguments={"or_equal": True, "mostly": 0.99, **PAIR_NULLS},
            ),
            no_rows(
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
                            and {window.is_settled}
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
