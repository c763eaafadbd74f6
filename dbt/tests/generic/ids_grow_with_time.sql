{#- A candle's first trade id is larger than every trade id of the symbol's earlier candles. -#}
{% test ids_grow_with_time(model) %}

with

candles as (

    select
        *,
        max(last_trade_id) over (
            partition by market, symbol
            order by opened_at
            rows between unbounded preceding and 1 preceding
        ) as largest_id_before
    from {{ model }}

)

select *
from candles
where trades > 0 and first_trade_id <= largest_id_before

{% endtest %}
