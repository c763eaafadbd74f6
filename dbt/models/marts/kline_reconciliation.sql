{{
    config(
        partition_by=partition_by_day('opened_at'),
        cluster_by=cluster_on(['market', 'symbol', 'kline_interval']),
    )
}}

{%- set minutes_by_interval = {'1m': 1, '5m': 5, '15m': 15, '1h': 60, '4h': 240, '1d': 1440} %}

with

candles as (

    {% for interval, minutes in minutes_by_interval.items() %}
        select
            *,
            '{{ interval }}' as kline_interval,
            timestamp_add(opened_at, interval {{ minutes }} minute) as ended_at
        from {{ ref('ohlcv_' ~ interval) }}
        {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

klines as (

    select * from {{ ref('int_klines_closed') }}

),

holes as (

    select * from {{ ref('int_id_holes') }}

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
        -- without a later trade Binance's own last id shows that ours is the candle's last.
        coalesce(
            candle.next_trade_id,
            if(kline.trades = 0, candle.previous_trade_id, kline.last_trade_id) + 1
        ) - candle.previous_trade_id - 1 - candle.trades as missing
    from candles as candle
    inner join klines as kline
        on
            candle.market = kline.market
            and candle.symbol = kline.symbol
            and candle.kline_interval = kline.kline_interval
            and candle.opened_at = kline.opened_at

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
        coalesce(missing = 0, false) as is_covered
    from compared

),

-- Candles that differ and follow each other have the same number of equal ones before them.
numbered as (

    select
        *,
        sum(if(is_equal, 1, 0)) over (
            partition by market, symbol, kline_interval
            order by opened_at
            rows unbounded preceding
        ) as equal_before
    from judged

),

runs as (

    select
        market,
        symbol,
        kline_interval,
        equal_before,
        sum(volume_difference) = 0
        and sum(quote_volume_difference) = 0
        and sum(trades_difference) = 0
        and sum(taker_buy_volume_difference) = 0
        and sum(taker_buy_quote_volume_difference) = 0 as is_cancelled
    from numbered
    where not is_equal
    group by 1, 2, 3, 4

),

unpublished as (

    select
        candle.market,
        candle.symbol,
        candle.kline_interval,
        candle.opened_at,
        sum(hole.missing) as unpublished
    from judged as candle
    inner join holes as hole
        on
            candle.market = hole.market
            and candle.symbol = hole.symbol
            and candle.ended_at > hole.previous_traded_at
            and candle.opened_at <= hole.next_traded_at
    where not candle.is_equal and hole.is_unpublished
    group by 1, 2, 3, 4

),

final as (

    select
        candle.market,
        candle.symbol,
        candle.kline_interval,
        candle.opened_at,
        candle.open_difference,
        candle.high_difference,
        candle.low_difference,
        candle.close_difference,
        candle.volume_difference,
        candle.quote_volume_difference,
        candle.trades_difference,
        candle.taker_buy_volume_difference,
        candle.taker_buy_quote_volume_difference,
        candle.is_equal,
        candle.is_covered,
        case
            when candle.is_equal then null
            when runs.is_cancelled and candle.volume_difference != 0 then 'boundary'
            when candle.is_covered and candle.revisions > 1 then 'exchange revised'
            when candle.is_covered then 'ours'
            when
                candle.missing = unpublished.unpublished
                and candle.trades_difference between -candle.missing and -1
                then 'excluded from stream'
            else 'missing trades'
        end as difference_class
    from numbered as candle
    left join runs
        on
            candle.market = runs.market
            and candle.symbol = runs.symbol
            and candle.kline_interval = runs.kline_interval
            and candle.equal_before = runs.equal_before
    left join unpublished
        on
            candle.market = unpublished.market
            and candle.symbol = unpublished.symbol
            and candle.kline_interval = unpublished.kline_interval
            and candle.opened_at = unpublished.opened_at

)

select * from final
