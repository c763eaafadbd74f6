{{
    config(
        materialized='incremental',
        meta={
            'replaces': (
                'target.previous_id = new.previous_id and target.next_id = new.next_id'
            ),
            'times': ['previous_traded_at', 'next_traded_at'],
            'gone': 'new.built_at is null',
        },
        partition_by=partition_by_day('previous_traded_at'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}
{%- set changes = changes_of(ref('int_id_islands'), ref('int_agg_trade_loads')) %}
{%- if changes %}
{%- set beside_changes %}
    {{ within(changes.ranges, 'previous_traded_at', minutes=1) }}
    or {{ within(changes.ranges, 'next_traded_at', minutes=1) }}
{%- endset %}
{%- set days = days_with(ref('int_id_gaps'), ['previous_traded_at', 'next_traded_at'], beside_changes) %}
{%- endif %}

with

gaps as (

    select * from {{ ref('int_id_gaps') }}
    {%- if changes %}
    -- what came since {{ changes.since }}
    where {{ beside_changes }}
    {%- endif %}

),

aggregates as (

    select * from {{ ref('stg_agg_trades') }}
    where not is_invalidated and {{ within(days, 'traded_at') }}

),

-- Aggregate ids are consecutive too: when nothing is between the aggregates around a gap, the
-- exchange never sent the ids in it.
unpublished as (

    select distinct
        gaps.market,
        gaps.symbol,
        gaps.previous_id,
        gaps.next_id,
        gaps.previous_traded_at,
        gaps.next_traded_at,
        {{ built_now() }} as built_at
    from gaps
    inner join aggregates as aggregate_before
        on
            gaps.market = aggregate_before.market
            and gaps.symbol = aggregate_before.symbol
            and gaps.previous_id = aggregate_before.last_trade_id
    inner join aggregates as aggregate_after
        on
            gaps.market = aggregate_after.market
            and gaps.symbol = aggregate_after.symbol
            and gaps.next_id = aggregate_after.first_trade_id
            and aggregate_before.agg_trade_id + 1 = aggregate_after.agg_trade_id

),

{% if changes -%}
-- Gaps that were filled after all.
gone as (

    select
        known.* except (built_at),
        null as built_at
    from {{ this }} as known
    where
        ({{ beside_changes }})
        and not exists (
            select 1
            from gaps
            where
                gaps.market = known.market
                and gaps.symbol = known.symbol
                and gaps.previous_id = known.previous_id
                and gaps.next_id = known.next_id
        )

),

{% endif -%}
final as (

    select * from unpublished
    {%- if changes %}
    union all
    select * from gone
    {%- endif %}

)

select * from final
