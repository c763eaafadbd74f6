-- The ten busiest minutes of the market, and what share of their volume takers bought.
select
    opened_at,
    symbol,
    trades,
    quote_volume,
    taker_buy_volume / volume as taker_buy_share
from {{ ref('ohlcv_1m') }}
where
    market = 'spot'
    and opened_at >= timestamp '2024-01-01 00:00:00 UTC'  -- choose your days: they are the cost
    and trades > 0
order by trades desc, quote_volume desc
limit 10
