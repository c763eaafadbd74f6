with

frame_symbols as (

    select * from {{ source('ops', 'frame_symbols') }}

),

final as (

    select
        -- key
        frame_id,
        symbol,

        -- content
        market,
        channel,
        first_id,
        last_id,
        first_at,
        last_at,

        -- control totals
        count,
        sum_ids,
        sum_quantity,
        sum_quote_quantity,

        -- times
        loaded_at
    from frame_symbols

)

select * from final
