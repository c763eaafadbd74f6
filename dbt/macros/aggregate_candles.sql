{#-
  The one aggregation: candles of `minutes` minutes from finer candles, or from trades when each
  trade is given as a candle of its own (open = high = low = close = price, trades = 1).

  Arguments:
    candles: relation or CTE with the columns of ohlcv_1m.
    minutes: length of the new candles; divides a day.

  Rules (Binance's klines, reproduced exactly from recorded trades):
  * First and last are by trade id, never by time: most trades share their millisecond.
  * A candle without trades (trades = 0, ids -1) only counts where nothing was traded at all:
    its carried-over price is neither open nor high nor low of a coarser candle with trades.

  Integer sums are cast back to int64: BigQuery has them already, the emulator widens them.
-#}
{% macro aggregate_candles(candles, minutes) -%}
    {%- set microseconds = minutes * 60 * 1000000 -%}
    {%- set after_every_id = 9223372036854775807 -%}
    select
        market,
        symbol,
        timestamp_micros(div(unix_micros(opened_at), {{ microseconds }}) * {{ microseconds }})
            as opened_at,
        min_by(open, if(trades > 0, first_trade_id, {{ after_every_id }})) as open,
        coalesce(max(if(trades > 0, high, null)), max(high)) as high,
        coalesce(min(if(trades > 0, low, null)), min(low)) as low,
        max_by(close, last_trade_id) as close,
        sum(volume) as volume,
        sum(quote_volume) as quote_volume,
        cast(sum(trades) as int64) as trades,
        sum(taker_buy_volume) as taker_buy_volume,
        sum(taker_buy_quote_volume) as taker_buy_quote_volume,
        coalesce(min(if(trades > 0, first_trade_id, null)), -1) as first_trade_id,
        max(last_trade_id) as last_trade_id
    from {{ candles }}
    group by 1, 2, 3
{%- endmacro %}
