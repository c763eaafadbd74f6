{{ config(meta={'pruned_by': 'first_at'}) }}

with

loads as (

    select
        market,
        symbol,
        frame_id,
        min(first_at) as first_at
    from {{ ref('int_trade_loads') }}
    where first_at >= {{ tested_since() }}
    group by market, symbol, frame_id

),

ledger as (

    select
        market,
        symbol,
        frame_id,
        min(first_id) as first_id,
        max(last_id) as last_id,
        max(count) as received,
        max(sum_ids) as received_ids
    from {{ ref('stg_frame_symbols') }}
    where channel = 'trade'
    group by market, symbol, frame_id

),

trades as (

    select * from {{ ref('stg_trades') }}
    where traded_at >= {{ tested_since() }}

),

kept as (

    select * from {{ ref('int_trades_deduplicated') }}
    where traded_at >= {{ tested_since() }}

),

ids as (

    select
        trades.market,
        trades.symbol,
        trades.frame_id,
        trades.trade_id,
        count(*) as copies,
        count(kept.trade_id) = 0 as is_lost
    from trades
    left join kept
        on
            trades.market = kept.market
            and trades.symbol = kept.symbol
            and trades.trade_id = kept.trade_id
    group by trades.market, trades.symbol, trades.frame_id, trades.trade_id

),

found as (

    select
        market,
        symbol,
        frame_id,
        sum(copies) as copies,
        sum(copies * cast(trade_id as numeric)) as copied_ids,
        count(*) as trades,
        sum(cast(trade_id as numeric)) as trade_ids,
        countif(is_lost) as lost,
        sum(cast(if(is_lost, trade_id, 0) as numeric)) as lost_ids,
        min(if(is_lost, trade_id, null)) as first_lost_id,
        max(if(is_lost, trade_id, null)) as last_lost_id
    from ids
    group by market, symbol, frame_id

),

-- A frame that was loaded again has rows more than once. All of it is there when every trade is,
-- or, if it repeats ids itself, when all rows are there as often.
compared as (

    select
        loads.market,
        loads.symbol,
        loads.frame_id,
        loads.first_at,
        ledger.first_id,
        ledger.last_id,
        ledger.received,
        ledger.received_ids,
        coalesce(found.trades, 0) as trades,
        coalesce(found.trade_ids, 0) as trade_ids,
        coalesce(found.lost, 0) as lost,
        coalesce(found.lost_ids, 0) as lost_ids,
        found.first_lost_id,
        found.last_lost_id,
        coalesce(
            found.copied_ids * ledger.received = found.copies * ledger.received_ids
            and mod(found.copies, ledger.received) = 0,
            false
        ) as is_whole
    from loads
    inner join ledger
        on
            loads.market = ledger.market
            and loads.symbol = ledger.symbol
            and loads.frame_id = ledger.frame_id
    left join found
        on
            loads.market = found.market
            and loads.symbol = found.symbol
            and loads.frame_id = found.frame_id

),

counted as (

    select
        *,
        if(is_whole, received, trades) as loaded,
        if(is_whole, received_ids, trade_ids) as loaded_ids
    from compared

),

final as (

    select
        market,
        symbol,
        frame_id,
        first_at,
        received,
        received_ids,
        loaded,
        loaded_ids,
        loaded - lost as kept,
        loaded_ids - lost_ids as kept_ids,
        received = loaded and received_ids = loaded_ids and lost = 0 as is_equal,
        -- Which rows of a frame are not in the table is not known, only what the frame spans.
        if(received_ids = loaded_ids, first_lost_id, first_id) as first_doubtful_id,
        if(received_ids = loaded_ids, last_lost_id, last_id) as last_doubtful_id
    from counted

)

select * from final
