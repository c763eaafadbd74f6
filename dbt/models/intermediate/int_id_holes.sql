{{
    config(
        materialized='table',
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}

with

gaps as (

    select * from {{ ref('int_id_gaps') }}

),

unpublished as (

    select * from {{ ref('int_unpublished_ids') }}

),

final as (

    select
        gaps.market,
        gaps.symbol,
        gaps.previous_id + 1 as first_missing_id,
        gaps.next_id - 1 as last_missing_id,
        gaps.next_id - gaps.previous_id - 1 as missing,
        gaps.previous_traded_at,
        gaps.next_traded_at,
        unpublished.next_id is not null as is_unpublished
    from gaps
    left join unpublished
        on
            gaps.market = unpublished.market
            and gaps.symbol = unpublished.symbol
            and gaps.previous_id = unpublished.previous_id
            and gaps.next_id = unpublished.next_id

)

select * from final
