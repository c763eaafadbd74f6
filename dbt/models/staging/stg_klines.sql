{{ config(meta={'pruned_by': 'opened_at'}) }}

with

klines as (

    select * from {{ source('raw', 'klines') }}
    where {{ within(none, 'opened_at') }}

),

final as (

    select
        -- key
        market,
        symbol,
        kline_interval,
        opened_at,

        -- candle
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trades,
        taker_buy_volume,
        taker_buy_quote_volume,
        first_trade_id,
        last_trade_id,
        is_closed,

        -- times
        closed_at,
        event_at,
        received_at,
        loaded_at,

        -- origin
        source,
        collector,
        frame_id
    from klines

)

select * from final
