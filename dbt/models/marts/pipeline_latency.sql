{{
    config(
        materialized='incremental',
        meta={
            'replaces': 'target.stage = new.stage and target.opened_at = new.opened_at',
            'times': ['opened_at', 'opened_at'],
            'keys': ['market'],
        },
        partition_by=partition_by_day('opened_at'),
        cluster_by=cluster_on(['market', 'stage']),
    )
}}
{%- set changes = changes_of(ref('int_trades_deduplicated')) %}

with

trades as (

    select
        *,
        timestamp_trunc(traded_at, minute) as opened_at
    from {{ ref('int_trades_deduplicated') }}
    where source = 'stream' and {{ within(changes.ranges, 'traded_at', minutes=1) }}

),

{% if changes -%}
dirty_minutes as (

    select distinct
        market,
        opened_at
    from trades
    where built_at > {{ changes.since }}

),

{% endif -%}

-- The first load of a frame, never before its trades; clocks are less than a day apart.
frames as (

    select * from {{ ref('stg_frames') }}
    {%- if changes %}
    where loaded_at >= {{ earliest(changes.ranges, days_before=1) }}
    {%- endif %}
    qualify row_number() over (partition by frame_id order by loaded_at, published_at) = 1

),

passages as (

    select
        trades.market,
        trades.opened_at,
        timestamp_diff(trades.received_at, trades.event_at, microsecond) as exchange_to_received,
        timestamp_diff(frames.published_at, trades.received_at, microsecond)
            as received_to_published,
        timestamp_diff(frames.loaded_at, frames.published_at, microsecond) as published_to_loaded,
        timestamp_diff(frames.loaded_at, trades.event_at, microsecond) as exchange_to_loaded
    from trades
    left join frames on trades.frame_id = frames.frame_id
    {%- if changes %}
    where (trades.market, trades.opened_at) in (select (market, opened_at) from dirty_minutes)
    {%- endif %}

),

latencies as (

    select
        *,
        row_number() over (stage_minute order by latency) as latency_rank,
        count(*) over (stage_minute) as trades
    from passages
    unpivot (
        latency for stage in (
            exchange_to_received, received_to_published, published_to_loaded, exchange_to_loaded
        )
    )
    window stage_minute as (partition by market, stage, opened_at)

),

-- Percentiles by nearest rank, exact: the smallest latency that at least so many trades keep to.
final as (

    select
        market,
        stage,
        opened_at,
        min(if(2 * latency_rank >= trades, latency, null)) as p50_us,
        min(if(100 * latency_rank >= 99 * trades, latency, null)) as p99_us,
        max(latency) as max_us,
        count(*) as trades,
        cast(countif(latency < 0) as int64) as negative
    from latencies
    group by 1, 2, 3

)

select * from final
