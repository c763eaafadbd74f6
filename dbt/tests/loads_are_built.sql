-- Every load in the ledger was built: a row that became visible later than load_overlap_hours after
-- its loaded_at would be missed. Rows that arrive while dbt runs are younger than the newest built
-- one. Remedy: dbt build --full-refresh.
with

ledger as (

    select * from {{ ref('stg_frame_symbols') }}
    where channel = 'trade'

),

loads as (

    select * from {{ ref('int_trade_loads') }}

),

newest as (

    select max(loaded_at) as loaded_at from loads

)

select distinct
    ledger.frame_id,
    ledger.symbol,
    ledger.loaded_at
from ledger
cross join newest
left join loads
    on
        ledger.frame_id = loads.frame_id
        and ledger.symbol = loads.symbol
        and ledger.loaded_at = loads.loaded_at
where loads.frame_id is null and ledger.loaded_at < newest.loaded_at
