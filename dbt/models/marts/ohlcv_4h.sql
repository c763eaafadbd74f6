{{
    config(
        materialized='incremental',
        meta={
            'replaces': replaces_candles(),
            'times': ['opened_at', 'opened_at'],
            'written_until': 'timestamp_sub(replaced_until, interval 1 minute)',
        },
        partition_by=partition_by_day('opened_at'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}
{%- set changes = changes_of(ref('ohlcv_1h')) %}

with

finer as (

    select * from {{ ref('ohlcv_1h') }}
    where {{ within(changes.ranges, 'opened_at', minutes=240) }}

),

final as (

    {{ coarser_candles(240, changes) }}

)

select * from final
