{{ config(materialized='view', meta={'pruned_by': 'opened_at'}) }}

with

frames as (

    select
        *,
        timestamp_trunc(first_at, minute) as opened_at
    from {{ ref('int_frame_stages') }}

),

final as (

    select
        market,
        symbol,
        opened_at,
        count(*) as frames,
        cast(sum(received) as int64) as received,
        cast(sum(loaded) as int64) as loaded,
        cast(sum(kept) as int64) as kept,
        sum(received_ids) as received_ids,
        sum(loaded_ids) as loaded_ids,
        sum(kept_ids) as kept_ids,
        logical_and(is_equal) as is_equal,
        min(if(is_equal, null, frame_id)) as different_frame_id,
        min(if(is_equal, null, first_doubtful_id)) as first_doubtful_id,
        max(if(is_equal, null, last_doubtful_id)) as last_doubtful_id
    from frames
    group by market, symbol, opened_at

)

select * from final
