{#-
  A candle's previous_trade_id is the last id of the symbol's traded candles before it, its
  next_trade_id the first one after it. On purpose by windows over all candles.
-#}
{% test knows_its_neighbours(model) %}

with

candles as (

    select
        *,
        max(nullif(last_trade_id, -1)) over (
            partition by market, symbol
            order by opened_at
            rows between unbounded preceding and 1 preceding
        ) as id_before,
        min(nullif(first_trade_id, -1)) over (
            partition by market, symbol
            order by opened_at
            rows between 1 following and unbounded following
        ) as id_after
    from {{ model }}

)

select *
from candles
where
    coalesce(previous_trade_id, -1) != coalesce(id_before, -1)
    {{ 'and id_before is not null' if tested_days() }}
    or coalesce(next_trade_id, -1) != coalesce(id_after, -1)

{% endtest %}
