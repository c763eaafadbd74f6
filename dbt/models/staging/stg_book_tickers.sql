with

book_tickers as (

    select * from {{ source('raw', 'book_tickers') }}

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
