{#- A candle without trades is the close of the candle before it, four times, and nothing else. -#}
{% test empty_candles_carry_close(model) %}

with

candles as (

    select
        *,
        lag(close) over (partition by market, symbol order by opened_at) as previous_close
    from {{ model }}

)

select *
from candles
where
    trades = 0
    {{ 'and previous_close is not null' if tested_days() }}
    and not coalesce(
        open = previous_close
        and high = previous_close
        and low = previous_close
        and close = previous_close
        and volume = 0
        and quote_volume = 0
        and taker_buy_volume = 0
        and taker_buy_quote_volume = 0
        and first_trade_id = -1
        and last_trade_id = -1,
        false
    )

{% endtest %}
