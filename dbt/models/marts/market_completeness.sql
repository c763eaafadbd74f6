{{
    config(
        partition_by=partition_by_day('traded_on', 'date'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}

with

trades as (

    select * from {{ ref('int_trades_deduplicated') }}

),

days as (

    select
        market,
        symbol,
        date(traded_at) as traded_on,
        min(trade_id) as first_id,
        max(trade_id) as last_id,
        count(*) as present,
        cast(sum(copies - 1) as int64) as duplicates_removed
    from trades
    group by 1, 2, 3

),

final as (

    select
        market,
        symbol,
        traded_on,
        first_id,
        last_id,
        last_id - first_id + 1 as expected,
        present,
        last_id - first_id + 1 - present as missing,
        coalesce(
            first_id - lag(last_id) over (partition by market, symbol order by traded_on) - 1, 0
        ) as missing_before,
        duplicates_removed
    from days

)

select * from final
