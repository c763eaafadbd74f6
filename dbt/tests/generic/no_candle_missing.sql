{#-
  Between two candles of a symbol stand all candles of `minutes` minutes, unless trade ids are
  missing between the two: then nobody knows what was traded, and there is no candle.
-#}
{% test no_candle_missing(model, minutes) %}

with

candles as (

    select
        *,
        lead(opened_at) over symbol_candles as next_opened_at,
        lead(first_trade_id) over symbol_candles as next_first_trade_id
    from {{ model }}
    window symbol_candles as (partition by market, symbol order by opened_at)

)

select *
from candles
where
    next_opened_at > timestamp_add(opened_at, interval {{ minutes }} minute)
    and (trades = 0 or next_first_trade_id = -1 or next_first_trade_id = last_trade_id + 1)

{% endtest %}
