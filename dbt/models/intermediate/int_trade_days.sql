{{
    config(
        materialized='incremental',
        meta={
            'replaces': 'target.opened_at = new.opened_at', 'times': ['opened_at', 'opened_at'],
        },
        partition_by=partition_by_day('opened_at'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}
{%- set changes = changes_of(ref('int_trades_deduplicated')) %}

with

trades as (

    select
        *,
        timestamp_trunc(traded_at, day) as opened_at
    from {{ ref('int_trades_deduplicated') }}
    where {{ within(changes.ranges, 'traded_at', minutes=1440) }}

),

final as (

    select
        market,
        symbol,
        opened_at,
        min(trade_id) as first_id,
        max(trade_id) as last_id,
        count(*) as trades,
        cast(sum(copies - 1) as int64) as duplicates_removed,
        cast(countif(is_conflicting) as int64) as conflicts,
        cast(countif(source != 'stream') as int64) as healed,
        max(built_at) as built_at
    from trades
    group by 1, 2, 3
    {%- if changes %}
    having max(built_at) > {{ changes.since }}
    {%- endif %}

)

select * from final
