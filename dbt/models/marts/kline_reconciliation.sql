{{ config(materialized='view', meta={'pruned_by': 'opened_at'}) }}

with

differences as (

    select * from {{ ref('kline_differences') }}

),

classes as (

    select * from {{ ref('kline_difference_classes') }}

),

final as (

    select
        differences.market,
        differences.symbol,
        differences.kline_interval,
        differences.opened_at,
        differences.open_difference,
        differences.high_difference,
        differences.low_difference,
        differences.close_difference,
        differences.volume_difference,
        differences.quote_volume_difference,
        differences.trades_difference,
        differences.taker_buy_volume_difference,
        differences.taker_buy_quote_volume_difference,
        differences.is_equal,
        differences.is_covered,
        classes.difference_class
    from differences
    left join classes
        on
            differences.market = classes.market
            and differences.symbol = classes.symbol
            and differences.kline_interval = classes.kline_interval
            and differences.opened_at = classes.opened_at

)

select * from final
