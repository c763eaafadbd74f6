-- A candle that our trades cover and that differs from Binance's without another reason is our
-- mistake: one sentence for each field.
{%- set fields = [
    'open', 'high', 'low', 'close', 'volume', 'quote_volume', 'trades', 'taker_buy_volume',
    'taker_buy_quote_volume',
] %}
with

mistakes as (

    select * from {{ tested(ref('kline_reconciliation')) }}
    where difference_class = 'ours'

),

klines as (

    select * from {{ tested(ref('int_klines_closed')) }}

)

select
    concat(
        kline.symbol, ' ', kline.kline_interval, ' ', kline.opened_at, ': our ', field.name, ' is ',
        field.official + field.difference, ', Binance says ', field.official
    ) as problem
from mistakes as mistake
inner join klines as kline
    on
        mistake.market = kline.market
        and mistake.symbol = kline.symbol
        and mistake.kline_interval = kline.kline_interval
        and mistake.opened_at = kline.opened_at
cross join
    unnest([
        {%- for field in fields %}
            struct(
                '{{ field }}' as name,
                kline.{{ field }} as official,
                mistake.{{ field }}_difference as difference
            ){{ ',' if not loop.last }}
        {%- endfor %}
    ]) as field
where field.difference != 0
