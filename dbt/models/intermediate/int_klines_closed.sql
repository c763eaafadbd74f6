{{
    config(
        materialized='incremental',
        meta={
            'replaces': (
                'target.kline_interval = new.kline_interval and target.opened_at = new.opened_at'
            ),
            'times': ['opened_at', 'opened_at'],
        },
        partition_by=partition_by_day('opened_at'),
        require_partition_filter=true,
        cluster_by=cluster_on(['market', 'symbol', 'kline_interval']),
    )
}}
{%- set changes = changes_of(ref('int_kline_loads')) %}

with

klines as (

    select * from {{ ref('stg_klines') }}
    where is_closed and {{ within(changes.ranges, 'opened_at') }}

),

{% if changes -%}
loads as (

    select distinct
        frame_id,
        market,
        symbol
    from {{ ref('int_kline_loads') }}
    where built_at > {{ changes.since }}

),

{% endif -%}
final as (

    select
        klines.*,
        count(
            distinct concat(
                klines.open, ' ', klines.high, ' ', klines.low, ' ', klines.close, ' ',
                klines.volume, ' ', klines.quote_volume, ' ', klines.trades, ' ',
                klines.taker_buy_volume, ' ', klines.taker_buy_quote_volume
            )
        ) over same_candle as revisions,
        {{ built_now() }} as built_at
    from klines
    {%- if changes %}
    left join loads
        on
            klines.frame_id = loads.frame_id
            and klines.market = loads.market
            and klines.symbol = loads.symbol
    {%- endif %}
    qualify
        row_number() over (
            partition by
                klines.market, klines.symbol, klines.kline_interval, klines.opened_at
            order by
                klines.event_at desc, klines.received_at desc, klines.loaded_at desc,
                klines.frame_id desc
        ) = 1
        and {{ 'logical_or(loads.frame_id is not null) over same_candle' if changes else 'true' }}
    window
        same_candle as (
            partition by
                klines.market, klines.symbol, klines.kline_interval, klines.opened_at
        )

)

select * from final
