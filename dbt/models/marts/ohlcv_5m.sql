{{
    config(
        partition_by=partition_by_day('opened_at'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}

with

candles as (

    select * from {{ ref('ohlcv_1m') }}

),

final as (

    {{ aggregate_candles('candles', minutes=5) }}

)

select * from final
