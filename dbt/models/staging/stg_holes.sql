with

holes as (

    select * from {{ source('ops', 'holes') }}

),

final as (

    select
        -- which ids
        market,
        channel,
        symbol,
        first_missing_id,
        last_missing_id,
        missing,

        -- what became of them
        outcome,
        cause,
        source,
        witnesses,
        frames,
        detail,

        -- times
        found_at,
        closed_at,
        received_at,
        loaded_at,

        -- origin
        run_id,
        collector,
        frame_id
    from holes

)

select * from final
