-- A trade id that arrives again carries the same trade; if not, one of the copies is wrong and
-- the candle that holds it can't be trusted.
select
    market,
    symbol,
    trade_id,
    count(*) as copies,
    min(price) as lowest_price,
    max(price) as highest_price,
    min(quantity) as smallest_quantity,
    max(quantity) as largest_quantity,
    min(traded_at) as first_traded_at,
    max(traded_at) as last_traded_at
from {{ tested(ref('stg_trades')) }}
group by market, symbol, trade_id
having
    min(price) != max(price)
    or min(quantity) != max(quantity)
    or min(traded_at) != max(traded_at)
    or logical_and(is_buyer_maker) != logical_or(is_buyer_maker)
