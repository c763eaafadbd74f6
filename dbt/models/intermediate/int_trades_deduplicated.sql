{{
    config(
        materialized='incremental',
        meta={'replaces': 'target.trade_id = new.trade_id', 'times': ['traded_at', 'traded_at']},
        partition_by=partition_by_day('traded_at'),
        cluster_by=cluster_on(['market', 'symbol', 'trade_id']),
    )
}}
{%- set changes = changes_of(ref('int_loads')) %}

with

trades as (

    select * from {{ ref('stg_trades') }}
    {%- if changes %}
    where {{ within(changes.ranges, 'traded_at') }}
    {%- endif %}

),

{% if changes -%}
loads as (

    select distinct
        frame_id,
        market,
        symbol
    from {{ ref('int_loads') }}
    where built_at > {{ changes.since }}

),

{% endif -%}
final as (

    select
        trades.*,
        count(*) over same_id as copies,
        min(trades.price) over same_id != max(trades.price) over same_id
        or min(trades.quantity) over same_id != max(trades.quantity) over same_id as is_conflicting,
        {{ built_now() }} as built_at
    from trades
    {%- if changes %}
    left join loads
        on
            trades.frame_id = loads.frame_id
            and trades.market = loads.market
            and trades.symbol = loads.symbol
    {%- endif %}
    qualify
        row_number() over (
            partition by trades.market, trades.symbol, trades.trade_id
            order by trades.received_at, trades.loaded_at, trades.frame_id
        ) = 1
        and {{ 'logical_or(loads.frame_id is not null) over same_id' if changes else 'true' }}
    window same_id as (partition by trades.market, trades.symbol, trades.trade_id)

)

select * from final
