{{ config(meta={'pruned_by': 'traded_at'}) }}

with

agg_trades as (

    select * from {{ source('raw', 'agg_trades') }}
    where {{ within(none, 'traded_at') }}

),

final as (

    select
        -- key
        market,
        symbol,
        agg_trade_id,

        -- trade
        price,
        quantity,
        is_buyer_maker,
        first_trade_id,
        last_trade_id,
        first_trade_id = -1 as is_invalidated,

        -- times
        traded_at,
        event_at,
        received_at,
        loaded_at,

        -- origin
        source,
        collector,
        frame_id
    from agg_trades

)

select * from final
