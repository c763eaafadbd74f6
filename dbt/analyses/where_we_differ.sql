-- Candles against Binance's own: how many are the same, and why the others are not.
select
    kline_interval,
    coalesce(difference_class, 'equal') as outcome,
    count(*) as candles,
    countif(is_covered) as covered
from {{ ref('kline_reconciliation') }}
group by 1, 2
order by 1, 2
