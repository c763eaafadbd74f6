-- The last 48 hourly candles of BTCUSDT, and how far each can be trusted.
select
    opened_at,
    open,
    high,
    low,
    close,
    volume,
    vwap,
    trades,
    missing_trades,
    is_final
from {{ ref('ohlcv_1h') }}
where
    market = 'spot'
    and symbol = 'BTCUSDT'
order by opened_at desc
limit 48
