-- Candles against Binance's own: how many are the same, and why the others are not.
select
    kline_interval,
    coalesce(difference_class, 'equal') as outcome,
    count(*) as candles,
    countif(is_covered) as covered
from {{ ref('kline_reconciliation') }}
where opened_at >= timestamp '2024-01-01 00:00:00 UTC'  -- choose your days: they are the cost
group by 1, 2
order by 1, 2
