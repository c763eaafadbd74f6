{%- set minutes_by_interval = {'1m': 1, '5m': 5, '15m': 15, '1h': 60, '4h': 240, '1d': 1440} -%}
{{
    config(
        materialized='incremental',
        meta={
            'replaces': (
                'target.kline_interval = new.kline_interval and target.opened_at = new.opened_at'
            ),
            'times': ['opened_at', 'opened_at'],
            'gone': 'new.built_at is null',
        },
        partition_by=partition_by_day('opened_at'),
        require_partition_filter=true,
        cluster_by=cluster_on(['is_equal', 'market', 'symbol', 'kline_interval']),
    )
}}
{%- set changes = changes_of(
    ref('int_klines_closed'), ref('ohlcv_1m'), ref('ohlcv_5m'), ref('ohlcv_15m'), ref('ohlcv_1h'),
    ref('ohlcv_4h'), ref('ohlcv_1d')
) %}
{%- set is_dirty = within(changes.ranges, 'opened_at') %}

with

candles as (

    {% for interval, minutes in minutes_by_interval.items() %}
        select
            *,
            '{{ interval }}' as kline_interval,
            timestamp_add(opened_at, interval {{ minutes }} minute) as ended_at
        from {{ ref('ohlcv_' ~ interval) }}
        where {{ is_dirty }}
        {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

klines as (

    select * from {{ ref('int_klines_closed') }}
    where {{ is_dirty }}

),

compared as (

    select
        candle.market,
        candle.symbol,
        candle.kline_interval,
        candle.opened_at,
        candle.ended_at,
        candle.open - kline.open as open_difference,
        candle.high - kline.high as high_difference,
        candle.low - kline.low as low_difference,
        candle.close - kline.close as close_difference,
        candle.volume - kline.volume as volume_difference,
        candle.quote_volume - kline.quote_volume as quote_volume_difference,
        candle.trades - kline.trades as trades_difference,
        candle.taker_buy_volume - kline.taker_buy_volume as taker_buy_volume_difference,
        candle.taker_buy_quote_volume - kline.taker_buy_quote_volume
            as taker_buy_quote_volume_difference,
        kline.revisions,
        -- Ids from the trade before the candle to the trade after it that are no trade of ours;
        -- without a later trade Binance's own last id shows that ours is the candle's last. Where
        -- Binance had no trade it repeats the last price: one that is not ours is of a trade that
        -- we have not.
        coalesce(
            candle.next_trade_id,
            case
                when kline.trades > 0 then kline.last_trade_id
                when kline.close = candle.close then candle.previous_trade_id
            end + 1
        ) - candle.previous_trade_id - 1 - candle.trades as missing
    from candles as candle
    inner join klines as kline
        on
            candle.market = kline.market
            and candle.symbol = kline.symbol
            and candle.kline_interval = kline.kline_interval
            and candle.opened_at = kline.opened_at
    {%- if changes %}
    where candle.built_at > {{ changes.since }} or kline.built_at > {{ changes.since }}
    {%- endif %}

),

judged as (

    select
        *,
        open_difference = 0
        and high_difference = 0
        and low_difference = 0
        and close_difference = 0
        and volume_difference = 0
        and quote_volume_difference = 0
        and trades_difference = 0
        and taker_buy_volume_difference = 0
        and taker_buy_quote_volume_difference = 0 as is_equal,
        coalesce(missing = 0, false) as is_covered,
        {{ built_now() }} as built_at
    from compared

),

{% if changes -%}
-- Pairs whose candle made way: empty minutes that turned out to lie in a hole.
gone as (

    select
        known.* except (built_at),
        null as built_at
    from {{ this }} as known
    where
        {{ is_dirty }}
        and not exists (
            select 1
            from candles
            where
                candles.market = known.market
                and candles.symbol = known.symbol
                and candles.kline_interval = known.kline_interval
                and candles.opened_at = known.opened_at
        )

),

{% endif -%}
final as (

    select * from judged
    {%- if changes %}
    union all
    select * from gone
    {%- endif %}

)

select * from final
