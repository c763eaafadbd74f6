{{ config(meta={'pruned_by': 'traded_at'}) }}

with

trades as (

    select * from {{ source('raw', 'trades') }}
    where {{ within(none, 'traded_at') }}

),

final as (

    select
        -- key
        market,
        symbol,
        trade_id,

        -- trade
        price,
        quantity,
        quote_quantity,
        is_buyer_maker,

        -- times
        traded_at,
        event_at,
        received_at,
        loaded_at,

        -- origin
        source,
        collector,
        frame_id
    from trades

)

select * from final
