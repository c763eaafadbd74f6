-- Symbols by realised volatility, the latest day first.
select
    date(opened_at) as traded_on,
    symbol,
    realised_volatility,
    day_return,
    trades,
    is_final
from {{ ref('market_daily_summary') }}
order by opened_at desc, realised_volatility desc
limit 20
