{#-
  Per symbol and day, the islands are as many runs of consecutive ids as the trades have, with the
  same ids and times. On purpose counted in one pass, not merged.
-#}
{% test islands_hold_their_trades(model, trades) %}

with

steps as (

    select
        *,
        date(traded_at) as traded_on,
        trade_id - row_number() over (
            partition by market, symbol, date(traded_at)
            order by trade_id
        ) as run
    from {{ tested(trades) }}

),

runs as (

    select
        market,
        symbol,
        traded_on,
        min(trade_id) as first_id,
        max(trade_id) as last_id,
        count(*) as trades,
        min(traded_at) as first_at,
        max(traded_at) as last_at
    from steps
    group by market, symbol, traded_on, run

)

select
    runs.*,
    islands.last_id as island_last_id,
    islands.trades as island_trades
from runs
full outer join {{ model }} as islands
    on
        runs.market = islands.market
        and runs.symbol = islands.symbol
        and runs.traded_on = islands.traded_on
        and runs.first_id = islands.first_id
where
    not coalesce(
        runs.last_id = islands.last_id
        and runs.trades = islands.trades
        and runs.first_at = islands.first_at
        and runs.last_at = islands.last_at,
        false
    )

{% endtest %}
