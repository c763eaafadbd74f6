-- Every trade id that was staged is kept. Rows that arrive while dbt runs are younger than the
-- newest kept one or were being appended next to it, so the last minute is left out.
with

staged as (

    select * from {{ ref('stg_trades') }}

),

kept as (

    select * from {{ ref('int_trades_deduplicated') }}

),

horizon as (

    select timestamp_sub(max(loaded_at), interval 1 minute) as loaded_before from kept

)

select
    staged.market,
    staged.symbol,
    staged.trade_id
from staged
cross join horizon
left join kept
    on
        staged.market = kept.market
        and staged.symbol = kept.symbol
        and staged.trade_id = kept.trade_id
where
    kept.trade_id is null
    and (horizon.loaded_before is null or staged.loaded_at < horizon.loaded_before)
