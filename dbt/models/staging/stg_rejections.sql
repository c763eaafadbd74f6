with

rejections as (

    select * from {{ source('raw', 'rejections') }}

),

final as (

    select
        -- what
        stage,
        reason,
        field,
        value,
        detail,
        exception_class,

        -- of which
        market,
        channel,
        symbol,

        -- bytes
        payload,
        payload_bytes,
        archived_in,

        -- times
        received_at,
        rejected_at,

        -- origin
        collector,
        frame_id,
        line_number
    from rejections

)

select * from final
