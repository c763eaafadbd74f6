{#-
  Control totals: per symbol, the candles hold as many trades, as much quantity and as much quote
  quantity as the de-duplicated trades, and no symbol is missing on either side.
-#}
{% test conserves_trades(model, trades) %}

with

candle_totals as (

    select
        market,
        symbol,
        sum(trades) as trades,
        sum(volume) as quantity,
        sum(quote_volume) as quote_quantity
    from {{ model }}
    group by market, symbol

),

trade_totals as (

    select
        market,
        symbol,
        count(*) as trades,
        sum(quantity) as quantity,
        sum(quote_quantity) as quote_quantity
    from {{ tested(trades) }}
    group by market, symbol

)

select
    candle_totals.*,
    trade_totals.trades as expected_trades,
    trade_totals.quantity as expected_quantity,
    trade_totals.quote_quantity as expected_quote_quantity
from candle_totals
full outer join trade_totals
    on
        candle_totals.market = trade_totals.market
        and candle_totals.symbol = trade_totals.symbol
where
    not coalesce(
        candle_totals.trades = trade_totals.trades
        and candle_totals.quantity = trade_totals.quantity
        and candle_totals.quote_quantity = trade_totals.quote_quantity,
        false
    )

{% endtest %}
