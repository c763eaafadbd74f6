{{
    config(
        materialized='incremental',
        meta={
            'replaces': 'target.opened_at = new.opened_at', 'times': ['opened_at', 'opened_at'],
        },
        partition_by=partition_by_day('opened_at'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}
{%- set changes = changes_of(ref('ohlcv_1d')) %}
{%- set is_dirty = within(changes.ranges, 'opened_at', minutes=1440) %}

with

days as (

    select * from {{ ref('ohlcv_1d') }}
    where trades > 0 and {{ is_dirty }} {{- ' and built_at > ' ~ changes.since if changes }}

),

five_minutes as (

    select * from {{ ref('ohlcv_5m') }}
    where {{ is_dirty }}

),

minutes as (

    select * from {{ ref('ohlcv_1m') }}
    where {{ is_dirty }}

),

-- The first return of a day is that of its first five minutes alone: a day reads no other day.
returns as (

    select
        market,
        symbol,
        timestamp_trunc(opened_at, day) as day,
        ln(
            cast(close as float64) / cast(coalesce(
                lag(close) over (
                    partition by market, symbol, timestamp_trunc(opened_at, day)
                    order by opened_at
                ), open
            ) as float64)
        ) as log_return
    from five_minutes

),

volatilities as (

    select
        market,
        symbol,
        day,
        sqrt(sum(log_return * log_return)) as realised_volatility
    from returns
    group by 1, 2, 3

),

busiest_minutes as (

    select
        market,
        symbol,
        timestamp_trunc(opened_at, day) as day,
        opened_at as busiest_minute,
        trades as busiest_minute_trades
    from minutes
    qualify
        row_number() over (
            partition by market, symbol, timestamp_trunc(opened_at, day)
            order by trades desc, opened_at asc
        ) = 1

),

final as (

    select
        days.market,
        days.symbol,
        days.opened_at,
        days.open,
        days.high,
        days.low,
        days.close,
        days.volume,
        days.quote_volume,
        days.trades,
        days.vwap,
        cast(days.close as float64) / cast(days.open as float64) - 1 as day_return,
        volatilities.realised_volatility,
        cast(days.taker_buy_volume as float64) / cast(days.volume as float64) as taker_buy_share,
        busiest_minutes.busiest_minute,
        busiest_minutes.busiest_minute_trades,
        days.is_final,
        days.built_at
    from days
    inner join volatilities
        on
            days.market = volatilities.market
            and days.symbol = volatilities.symbol
            and days.opened_at = volatilities.day
    inner join busiest_minutes
        on
            days.market = busiest_minutes.market
            and days.symbol = busiest_minutes.symbol
            and days.opened_at = busiest_minutes.day

)

select * from final
