{{ config(meta={'pruned_by': 'received_at'}) }}

with

book_tickers as (

    select * from {{ source('raw', 'book_tickers') }}
    where {{ within(none, 'received_at') }}

),

final as (

    select
        -- key
        market,
        symbol,
        update_id,

        -- book
        bid_price,
        bid_quantity,
        ask_price,
        ask_quantity,

        -- times
        received_at,
        loaded_at,

        -- origin
        source,
        collector,
        frame_id
    from book_tickers

)

select * from final
