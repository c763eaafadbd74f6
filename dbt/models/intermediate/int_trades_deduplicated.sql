{{
    config(
        materialized='table',
        partition_by=partition_by_day('traded_at'),
        cluster_by=cluster_on(['market', 'symbol', 'trade_id']),
    )
}}

with

trades as (

    select * from {{ ref('stg_trades') }}

),

final as (

    select
        *,
        count(*) over (partition by market, symbol, trade_id) as copies
    from trades
    qualify
        row_number() over (
            partition by market, symbol, trade_id
            order by received_at, loaded_at, frame_id
        ) = 1

)

select * from final
