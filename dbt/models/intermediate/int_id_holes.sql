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

-- Ids that REST does not know either, as two witnesses say.
absent as (

    select distinct
        market,
        symbol,
        first_missing_id,
        last_missing_id
    from {{ ref('stg_holes') }}
    where channel = 'trade' and outcome = 'absent_at_source'

),

absent_from_gaps as (

    select
        gaps.market,
        gaps.symbol,
        gaps.next_id,
        cast(sum(
            least(absent.last_missing_id, gaps.next_id - 1)
            - greatest(absent.first_missing_id, gaps.previous_id + 1)
            + 1
        ) as int64) as absent
    from gaps
    inner join absent
        on
            gaps.market = absent.market
            and gaps.symbol = absent.symbol
            and gaps.next_id > absent.first_missing_id
            and gaps.previous_id < absent.last_missing_id
    group by 1, 2, 3

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
        unpublished.next_id is not null
        or coalesce(absent_from_gaps.absent = gaps.next_id - gaps.previous_id - 1, false)
            as is_unpublished
    from gaps
    left join unpublished
        on
            gaps.market = unpublished.market
            and gaps.symbol = unpublished.symbol
            and gaps.previous_id = unpublished.previous_id
            and gaps.next_id = unpublished.next_id
    left join absent_from_gaps
        on
            gaps.market = absent_from_gaps.market
            and gaps.symbol = absent_from_gaps.symbol
            and gaps.next_id = absent_from_gaps.next_id

)

select * from final
