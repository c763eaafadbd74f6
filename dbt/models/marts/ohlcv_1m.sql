{{
    config(
        partition_by=partition_by_day('opened_at'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}

with

trades as (

    select * from {{ ref('int_trades_deduplicated') }}

),

trades_as_candles as (

    select
        market,
        symbol,
        traded_at as opened_at,
        price as open,
        price as high,
        price as low,
        price as close,
        quantity as volume,
        quote_quantity as quote_volume,
        1 as trades,
        if(is_buyer_maker, 0, quantity) as taker_buy_volume,
        if(is_buyer_maker, 0, quote_quantity) as taker_buy_quote_volume,
        trade_id as first_trade_id,
        trade_id as last_trade_id
    from trades

),

traded_minutes as (

    {{ aggregate_candles('trades_as_candles', minutes=1) }}

),

neighbours as (

    select
        market,
        symbol,
        close,
        opened_at,
        last_trade_id,
        lead(opened_at) over symbol_minutes as next_opened_at,
        lead(first_trade_id) over symbol_minutes as next_first_trade_id,
        max(opened_at) over (partition by market) as newest_opened_at
    from traded_minutes
    window symbol_minutes as (partition by market, symbol order by opened_at)

),

-- Minutes that are known to be empty: up to the next traded one when no id is missing in between,
-- up to the market's newest one when the symbol has not traded since. Inside a hole of the ids
-- nothing is known, so there is no candle.
quiet_spans as (

    select
        market,
        symbol,
        close,
        timestamp_add(opened_at, interval 1 minute) as first_opened_at,
        case
            when next_opened_at is null
                then least(
                    newest_opened_at,
                    timestamp_add(opened_at, interval {{ var('quiet_days') }} day)
                )
            when next_first_trade_id = last_trade_id + 1
                then timestamp_sub(next_opened_at, interval 1 minute)
        end as last_opened_at
    from neighbours

),

empty_minutes as (

    select
        quiet_spans.market,
        quiet_spans.symbol,
        opened_at,
        quiet_spans.close as open,
        quiet_spans.close as high,
        quiet_spans.close as low,
        quiet_spans.close,
        numeric '0' as volume,
        numeric '0' as quote_volume,
        0 as trades,
        numeric '0' as taker_buy_volume,
        numeric '0' as taker_buy_quote_volume,
        -1 as first_trade_id,
        -1 as last_trade_id
    from quiet_spans
    cross join
        unnest(
            generate_timestamp_array(
                quiet_spans.first_opened_at, quiet_spans.last_opened_at, interval 1 minute
            )
        ) as opened_at

),

final as (

    select * from traded_minutes
    union all
    select * from empty_minutes

)

select * from final
