with

frames as (

    select * from {{ source('ops', 'frames') }}

),

final as (

    select
        -- key
        frame_id,
        collector,
        epoch,
        sequence,

        -- content
        market,
        channel,
        source,

        -- book-keeping
        header_lines,
        lines,
        loaded_rows,
        ignored_lines,
        rejected_lines,
        body_bytes,
        message_bytes,

        -- control totals
        sum_ids,
        sum_quantity,
        sum_quote_quantity,

        -- times
        opened_at,
        closed_at,
        published_at,
        loaded_at
    from frames

)

select * from final
