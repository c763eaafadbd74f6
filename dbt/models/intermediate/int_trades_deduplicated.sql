{{
    config(
        materialized='incremental',
        meta={'replaces': 'target.trade_id = new.trade_id', 'times': ['traded_at', 'traded_at']},
        partition_by=partition_by_day('traded_at'),
        require_partition_filter=true,
        cluster_by=cluster_on(['market', 'symbol', 'trade_id']),
    )
}}
{%- set changes = changes_of(ref('int_trade_loads')) %}

with

trades as (

    select * from {{ ref('stg_trades') }}
    where {{ within(changes.ranges, 'traded_at') }}

),

{% if changes -%}
loads as (

    select distinct
        frame_id,
        market,
        symbol
    from {{ ref('int_trade_loads') }}
    where built_at > {{ changes.since }}

),

arrived as (

    select distinct
        trades.market,
        trades.symbol,
        trades.trade_id
    from trades
    inner join loads
        on
            trades.frame_id = loads.frame_id
            and trades.market = loads.market
            and trades.symbol = loads.symbol

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
    inner join arrived
        on
            trades.market = arrived.market
            and trades.symbol = arrived.symbol
            and trades.trade_id = arrived.trade_id
    {%- endif %}
    qualify
        row_number() over (
            partition by trades.market, trades.symbol, trades.trade_id
            order by trades.received_at, trades.loaded_at, trades.frame_id
        ) = 1
    window same_id as (partition by trades.market, trades.symbol, trades.trade_id)

)

select * from final
