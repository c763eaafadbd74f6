{{
    config(
        materialized='table',
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}

with

islands as (

    select * from {{ ref('int_id_islands') }}

),

aggregates as (

    select * from {{ ref('stg_agg_trades') }}
    where not is_invalidated

),

steps as (

    select
        market,
        symbol,
        first_id as next_id,
        first_at as next_traded_at,
        lag(last_id) over symbol_islands as previous_id,
        lag(last_at) over symbol_islands as previous_traded_at
    from islands
    window symbol_islands as (partition by market, symbol order by first_id)

),

holes as (

    select * from steps
    where next_id > previous_id + 1

),

-- Aggregate ids are consecutive too: when nothing is between the aggregates around a hole, the
-- exchange never sent the ids in it.
unpublished as (

    select distinct
        holes.market,
        holes.symbol,
        holes.next_id
    from holes
    inner join aggregates as aggregate_before
        on
            holes.market = aggregate_before.market
            and holes.symbol = aggregate_before.symbol
            and holes.previous_id = aggregate_before.last_trade_id
    inner join aggregates as aggregate_after
        on
            holes.market = aggregate_after.market
            and holes.symbol = aggregate_after.symbol
            and holes.next_id = aggregate_after.first_trade_id
            and aggregate_before.agg_trade_id + 1 = aggregate_after.agg_trade_id

),

final as (

    select
        holes.market,
        holes.symbol,
        holes.previous_id + 1 as first_missing_id,
        holes.next_id - 1 as last_missing_id,
        holes.next_id - holes.previous_id - 1 as missing,
        holes.previous_traded_at,
        holes.next_traded_at,
        unpublished.next_id is not null as is_unpublished
    from holes
    left join unpublished
        on
            holes.market = unpublished.market
            and holes.symbol = unpublished.symbol
            and holes.next_id = unpublished.next_id

)

select * from final
