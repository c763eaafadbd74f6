-- Every trade of a load that was built is kept.
with

staged as (

    select * from {{ tested(ref('stg_trades')) }}

),

loads as (

    select distinct
        frame_id,
        market,
        symbol
    from {{ ref('int_trade_loads') }}

),

kept as (

    select * from {{ tested(ref('int_trades_deduplicated')) }}

)

select
    staged.market,
    staged.symbol,
    staged.trade_id
from staged
inner join loads
    on
        staged.frame_id = loads.frame_id
        and staged.market = loads.market
        and staged.symbol = loads.symbol
left join kept
    on
        staged.market = kept.market
        and staged.symbol = kept.symbol
        and staged.trade_id = kept.trade_id
where kept.trade_id is null
