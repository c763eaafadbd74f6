{{ config(materialized='view') }}

with

islands as (

    select * from {{ ref('int_id_islands') }}

),

steps as (

    select
        market,
        symbol,
        lag(last_id) over symbol_islands as previous_id,
        first_id as next_id,
        lag(last_at) over symbol_islands as previous_traded_at,
        first_at as next_traded_at
    from islands
    window symbol_islands as (partition by market, symbol order by first_id)

),

final as (

    select * from steps
    where next_id > previous_id + 1

)

select * from final
