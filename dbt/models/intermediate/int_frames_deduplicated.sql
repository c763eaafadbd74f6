{{ config(materialized='view') }}

with

frames as (

    select * from {{ ref('stg_frames') }}

),

final as (

    select
        frame_id,
        market,
        collector,
        published_at,
        loaded_at
    from frames
    qualify
        row_number() over (
            partition by frame_id
            order by loaded_at, published_at
        ) = 1

)

select * from final
