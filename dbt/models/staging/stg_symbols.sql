with

symbols as (

    select * from {{ source('raw', 'symbols') }}

),

final as (

    select
        -- key
        market,
        symbol,

        -- entry
        status,
        base_asset,
        quote_asset,
        tick_size,
        step_size,
        min_notional,
        is_spot_allowed,
        permissions,

        -- snapshot
        listed_symbols,

        -- times
        received_at,
        loaded_at,

        -- origin
        source,
        collector,
        frame_id
    from symbols

)

select * from final
