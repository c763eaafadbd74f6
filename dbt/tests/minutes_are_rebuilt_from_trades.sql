-- A minute with trades is its trades: opened by the smallest id, closed by the largest, the sums
-- exact. On purpose without aggregate_candles, which it checks.
with

candles as (

    select * from {{ tested(ref('ohlcv_1m')) }}
    where trades > 0

),

trades as (

    select * from {{ tested(ref('int_trades_deduplicated')) }}

),

minutes as (

    select
        market,
        symbol,
        timestamp_trunc(traded_at, minute) as opened_at,
        array_agg(price order by trade_id limit 1)[offset(0)] as open,
        max(price) as high,
        min(price) as low,
        array_agg(price order by trade_id desc limit 1)[offset(0)] as close,
        sum(quantity) as volume,
        sum(quote_quantity) as quote_volume,
        count(*) as trades,
        sum(case when is_buyer_maker then 0 else quantity end) as taker_buy_volume,
        sum(case when is_buyer_maker then 0 else quote_quantity end) as taker_buy_quote_volume,
        min(trade_id) as first_trade_id,
        max(trade_id) as last_trade_id
    from trades
    group by 1, 2, 3

)

select
    minutes.*,
    candles.open as candle_open,
    candles.high as candle_high,
    candles.low as candle_low,
    candles.close as candle_close,
    candles.volume as candle_volume,
    candles.trades as candle_trades
from minutes
full outer join candles
    on
        minutes.market = candles.market
        and minutes.symbol = candles.symbol
        and minutes.opened_at = candles.opened_at
where
    not coalesce(
        minutes.open = candles.open
        and minutes.high = candles.high
        and minutes.low = candles.low
        and minutes.close = candles.close
        and minutes.volume = candles.volume
        and minutes.quote_volume = candles.quote_volume
        and minutes.trades = candles.trades
        and minutes.taker_buy_volume = candles.taker_buy_volume
        and minutes.taker_buy_quote_volume = candles.taker_buy_quote_volume
        and minutes.first_trade_id = candles.first_trade_id
        and minutes.last_trade_id = candles.last_trade_id,
        false
    )
