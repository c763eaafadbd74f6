{{
    config(
        partition_by=partition_by_day('opened_at'),
        cluster_by=cluster_on(['market', 'symbol', 'kline_interval']),
    )
}}

with

candles_1m as (

    select * from {{ ref('ohlcv_1m') }}

),

candles_5m as (

    select * from {{ ref('ohlcv_5m') }}

),

klines as (

    select * from {{ ref('int_klines_closed') }}

),

candles as (

    select
        '1m' as kline_interval,
        *
    from candles_1m
    union all
    select
        '5m' as kline_interval,
        *
    from candles_5m

),

-- The trades next to a candle; ids grow with time, so they are the largest id before it and the
-- smallest after it.
neighbours as (

    select
        *,
        max(nullif(last_trade_id, -1)) over (
            partition by market, symbol, kline_interval
            order by opened_at
            rows between unbounded preceding and 1 preceding
        ) as previous_trade_id,
        min(nullif(first_trade_id, -1)) over (
            partition by market, symbol, kline_interval
            order by opened_at
            rows between 1 following and unbounded following
        ) as next_trade_id
    from candles

),

compared as (

    select
        candle.market,
        candle.symbol,
        candle.kline_interval,
        candle.opened_at,
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
        -- without a later trade Binance's own last id shows that ours is the candle's last
        coalesce(
            if(
                candle.trades = 0,
                coalesce(candle.next_trade_id = candle.previous_trade_id + 1, kline.trades = 0),
                candle.first_trade_id = candle.previous_trade_id + 1
                and candle.last_trade_id - candle.first_trade_id + 1 = candle.trades
                and coalesce(
                    candle.next_trade_id = candle.last_trade_id + 1,
                    kline.last_trade_id = candle.last_trade_id
                )
            )
            and candle.previous_trade_id is not null,
            false
        ) as is_covered
    from neighbours as candle
    inner join klines as kline
        on
            candle.market = kline.market
            and candle.symbol = kline.symbol
            and candle.kline_interval = kline.kline_interval
            and candle.opened_at = kline.opened_at

),

final as (

    select
        market,
        symbol,
        kline_interval,
        opened_at,
        open_difference,
        high_difference,
        low_difference,
        close_difference,
        volume_difference,
        quote_volume_difference,
        trades_difference,
        taker_buy_volume_difference,
        taker_buy_quote_volume_difference,
        open_difference = 0
        and high_difference = 0
        and low_difference = 0
        and close_difference = 0
        and volume_difference = 0
        and quote_volume_difference = 0
        and trades_difference = 0
        and taker_buy_volume_difference = 0
        and taker_buy_quote_volume_difference = 0 as is_equal,
        is_covered
    from compared

)

select * from final
