{{
    config(
        materialized='incremental',
        meta={'replaces': 'target.first_id between new.first_id and new.last_id', 'times': ['first_at', 'last_at']},
        partition_by=partition_by_day('first_at'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}
{%- set changes = changes_of(ref('int_trades_deduplicated')) %}

with

trades as (

    select * from {{ ref('int_trades_deduplicated') }}
    where {{ within(changes.ranges, 'traded_at') }}
    {%- if changes %}
    and built_at > {{ changes.since }}
    {%- endif %}

),

pieces as (

    select
        market,
        symbol,
        date(traded_at) as traded_on,
        trade_id as first_id,
        trade_id as last_id,
        traded_at as first_at,
        traded_at as last_at
    from trades
    {%- if changes %}
    union all
    select
        market,
        symbol,
        traded_on,
        first_id,
        last_id,
        first_at,
        last_at
    from {{ this }}
    where
        {{ within(changes.ranges, 'first_at', minutes=1440) }}
        and (market, symbol, traded_on) in (
            select (market, symbol, date(traded_at)) from trades
        )
    {%- endif %}

),

-- A piece begins an island when every smaller id ends more than one id before it.
edges as (

    select
        *,
        coalesce(
            first_id > max(last_id) over (
                partition by market, symbol, traded_on
                order by first_id, last_id
                rows between unbounded preceding and 1 preceding
            ) + 1,
            true
        ) as begins_island
    from pieces

),

joined as (

    select
        *,
        max(if(begins_island, first_id, null)) over (
            partition by market, symbol, traded_on
            order by first_id, last_id
        ) as island_id
    from edges

),

final as (

    select
        market,
        symbol,
        traded_on,
        island_id as first_id,
        max(last_id) as last_id,
        max(last_id) - island_id + 1 as trades,
        min(first_at) as first_at,
        max(last_at) as last_at,
        {{ built_now() }} as built_at
    from joined
    group by market, symbol, traded_on, island_id

)

select * from final
