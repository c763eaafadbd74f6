{{ config(cluster_by=cluster_on(['market', 'symbol'])) }}

with

states as (

    select * from {{ ref('int_symbol_states') }}

),

compared as (

    select
        *,
        first_value(seen_at) over by_time as first_seen_at,
        (
            lag(status) over by_time is distinct from status
            or lag(base_asset) over by_time is distinct from base_asset
            or lag(quote_asset) over by_time is distinct from quote_asset
            or lag(tick_size) over by_time is distinct from tick_size
            or lag(step_size) over by_time is distinct from step_size
        ) as is_change
    from states
    window by_time as (partition by market, symbol order by seen_at)

),

versions as (

    select
        *,
        lead(seen_at) over (partition by market, symbol order by seen_at) as valid_to
    from compared
    where is_change

),

final as (

    select
        market,
        symbol,
        status,
        base_asset,
        quote_asset,
        tick_size,
        step_size,
        seen_at as valid_from,
        valid_to,
        valid_to is null as is_current,
        first_seen_at
    from versions

)

select * from final
