{{
    config(
        materialized='table',
        cluster_by=cluster_on(['market', 'symbol', 'kline_interval']),
    )
}}

with

differing as (

    select * from {{ ref('kline_differences') }}
    where not is_equal and {{ within(none, 'opened_at') }}

),

holes as (

    select * from {{ ref('int_id_holes') }}
    where is_unpublished

),

edges as (

    select
        *,
        coalesce(
            opened_at > lag(ended_at) over (
                partition by market, symbol, kline_interval
                order by opened_at
            ),
            true
        ) as begins_run
    from differing

),

numbered as (

    select
        *,
        sum(if(begins_run, 1, 0)) over (
            partition by market, symbol, kline_interval
            order by opened_at
            rows unbounded preceding
        ) as run_number
    from edges

),

-- Binance booked a trade in one candle and we in the next: over both nothing is different.
cancelled as (

    select
        market,
        symbol,
        kline_interval,
        run_number
    from numbered
    group by 1, 2, 3, 4
    having
        sum(volume_difference) = 0
        and sum(quote_volume_difference) = 0
        and sum(trades_difference) = 0
        and sum(taker_buy_volume_difference) = 0
        and sum(taker_buy_quote_volume_difference) = 0

),

unpublished as (

    select
        candle.market,
        candle.symbol,
        candle.kline_interval,
        candle.opened_at,
        sum(hole.missing) as unpublished
    from differing as candle
    inner join holes as hole
        on
            candle.market = hole.market
            and candle.symbol = hole.symbol
            and candle.ended_at > hole.previous_traded_at
            and candle.opened_at <= hole.next_traded_at
    group by 1, 2, 3, 4

),

final as (

    select
        candle.market,
        candle.symbol,
        candle.kline_interval,
        candle.opened_at,
        case
            when cancelled.run_number is not null and candle.volume_difference != 0 then 'boundary'
            when candle.is_covered and candle.revisions > 1 then 'exchange revised'
            when candle.is_covered then 'ours'
            when
                candle.missing = unpublished.unpublished
                and candle.trades_difference between -candle.missing and -1
                then 'excluded from stream'
            else 'missing trades'
        end as difference_class
    from numbered as candle
    left join cancelled
        on
            candle.market = cancelled.market
            and candle.symbol = cancelled.symbol
            and candle.kline_interval = cancelled.kline_interval
            and candle.run_number = cancelled.run_number
    left join unpublished
        on
            candle.market = unpublished.market
            and candle.symbol = unpublished.symbol
            and candle.kline_interval = unpublished.kline_interval
            and candle.opened_at = unpublished.opened_at

)

select * from final
