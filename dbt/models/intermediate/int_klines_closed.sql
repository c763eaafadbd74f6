{{ config(materialized='view') }}

with

klines as (

    select * from {{ ref('stg_klines') }}

),

final as (

    select
        *,
        count(
            distinct concat(
                open, ' ', high, ' ', low, ' ', close, ' ', volume, ' ', quote_volume, ' ', trades,
                ' ', taker_buy_volume, ' ', taker_buy_quote_volume
            )
        ) over (partition by market, symbol, kline_interval, opened_at) as revisions
    from klines
    where is_closed
    qualify
        row_number() over (
            partition by market, symbol, kline_interval, opened_at
            order by event_at desc, received_at desc, loaded_at desc, frame_id desc
        ) = 1

)

select * from final
