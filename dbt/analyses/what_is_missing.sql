-- Days that are not proven complete, the worst first, with the largest hole of each.
with

largest_holes as (

    select
        market,
        symbol,
        date(next_traded_at) as traded_on,
        max(missing) as largest_hole
    from {{ ref('int_id_holes') }}
    group by market, symbol, date(next_traded_at)

)

select
    days.traded_on,
    days.symbol,
    days.verdict,
    days.missing,
    days.holes,
    largest_holes.largest_hole
from {{ ref('market_completeness') }} as days
left join largest_holes
    on
        days.market = largest_holes.market
        and days.symbol = largest_holes.symbol
        and days.traded_on = largest_holes.traded_on
where days.verdict != 'FINAL'
order by days.missing desc, days.traded_on asc, days.symbol asc
