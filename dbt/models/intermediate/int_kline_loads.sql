{{
    config(
        materialized='incremental',
        meta={'replaces': 'false', 'times': ['first_at', 'last_at']},
        partition_by=partition_by_day('built_at'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}

with

final as (

    {{ loads_of('kline', ref('stg_frame_symbols')) }}

)

select * from final
