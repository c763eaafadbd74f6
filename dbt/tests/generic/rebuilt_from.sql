{#-
  Candles of `minutes` minutes say what the finer candles in them say. On purpose without
  aggregate_candles: sums over the span, and the edges looked up by trade id.
-#}
{% test rebuilt_from(model, finer, minutes) %}

with

spans as (

    select
        candle.market,
        candle.symbol,
        candle.opened_at,
        sum(fine.volume) as volume,
        sum(fine.quote_volume) as quote_volume,
        sum(fine.trades) as trades,
        sum(fine.taker_buy_volume) as taker_buy_volume,
        sum(fine.taker_buy_quote_volume) as taker_buy_quote_volume,
        max(if(candle.trades = 0 or fine.trades > 0, fine.high, null)) as high,
        min(if(candle.trades = 0 or fine.trades > 0, fine.low, null)) as low,
        max(if(fine.first_trade_id = candle.first_trade_id, fine.open, null)) as open,
        max(if(fine.last_trade_id = candle.last_trade_id, fine.close, null)) as close,
        countif(
            fine.trades > 0
            and (
                fine.first_trade_id < candle.first_trade_id
                or fine.last_trade_id > candle.last_trade_id
            )
        ) as fine_candles_outside
    from {{ model }} as candle
    left join {{ tested(finer) }} as fine
        on
            candle.market = fine.market
            and candle.symbol = fine.symbol
            and candle.opened_at <= fine.opened_at
            and timestamp_add(candle.opened_at, interval {{ minutes }} minute) > fine.opened_at
    group by candle.market, candle.symbol, candle.opened_at

)

select spans.*
from {{ model }} as candle
inner join spans
    on
        candle.market = spans.market
        and candle.symbol = spans.symbol
        and candle.opened_at = spans.opened_at
where
    not coalesce(
        mod(unix_micros(candle.opened_at), {{ minutes * 60000000 }}) = 0
        and candle.volume = spans.volume
        and candle.quote_volume = spans.quote_volume
        and candle.trades = spans.trades
        and candle.taker_buy_volume = spans.taker_buy_volume
        and candle.taker_buy_quote_volume = spans.taker_buy_quote_volume
        and candle.high = spans.high
        and candle.low = spans.low
        and candle.open = spans.open
        and candle.close = spans.close
        and spans.fine_candles_outside = 0,
        false
    )

{% endtest %}
