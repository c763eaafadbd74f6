{{
    config(
        materialized='incremental',
        meta={
            'replaces': replaces_candles(),
            'times': ['opened_at', 'opened_at'],
            'written_until': 'timestamp_sub(replaced_until, interval 1 minute)',
        },
        partition_by=partition_by_day('opened_at'),
        require_partition_filter=true,
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}
{%- set changes = changes_of(ref('int_trades_deduplicated')) %}
{%- set neighbours = neighbourhood(ref('int_id_islands')) %}

with

trades as (

    select * from {{ ref('int_trades_deduplicated') }}
    where {{ within(changes.ranges, 'traded_at', minutes=1) }}

),

{% if changes -%}
dirty_minutes as (

    select distinct
        market,
        symbol,
        {{ floor_to('traded_at', 1) }} as opened_at
    from trades
    where built_at > {{ changes.since }}

),

{% endif -%}
trades_as_candles as (

    select
        market,
        symbol,
        traded_at as opened_at,
        price as open,
        price as high,
        price as low,
        price as close,
        quantity as volume,
        quote_quantity as quote_volume,
        1 as trades,
        if(is_buyer_maker, 0, quantity) as taker_buy_volume,
        if(is_buyer_maker, 0, quote_quantity) as taker_buy_quote_volume,
        trade_id as first_trade_id,
        trade_id as last_trade_id,
        cast(null as int64) as previous_trade_id,
        cast(null as int64) as next_trade_id,
        source as sources
    from trades
    {%- if changes %}
    where
        (market, symbol, {{ floor_to('traded_at', 1) }}) in (
            select (market, symbol, opened_at) from dirty_minutes
        )
    {%- endif %}

),

built_minutes as (

    {{ aggregate_candles('trades_as_candles', minutes=1) }}

),

traded_minutes as (

    select
        *,
        true as is_built
    from built_minutes
    {%- if changes %}
    union all
    select
        known.* except (vwap, missing_trades, is_final, built_at),
        false as is_built
    from {{ this }} as known
    left join built_minutes as built
        on
            known.market = built.market
            and known.symbol = built.symbol
            and known.opened_at = built.opened_at
    where
        known.trades > 0
        and built.market is null
        and {{ within(neighbours, 'known.opened_at', minutes=1) }}
        and (known.market, known.symbol) in (select (market, symbol) from built_minutes)
    {%- endif %}

),

-- A minute that was not built keeps what it knows of its neighbours, unless they were built.
linked_minutes as (

    select
        * except (previous_trade_id, next_trade_id),
        if(
            is_built or lag(is_built) over symbol_minutes,
            lag(last_trade_id) over symbol_minutes,
            previous_trade_id
        ) as previous_trade_id,
        if(
            is_built or lead(is_built) over symbol_minutes,
            lead(first_trade_id) over symbol_minutes,
            next_trade_id
        ) as next_trade_id,
        is_built or coalesce(lag(is_built) over symbol_minutes, false) as is_linked_back,
        is_built or coalesce(lead(is_built) over symbol_minutes, false) as is_linked_on,
        lead(opened_at) over symbol_minutes as next_opened_at
    from traded_minutes
    window symbol_minutes as (partition by market, symbol order by opened_at)

),

symbols as (

    select
        market,
        symbol,
        {{ floor_to('max(' ~ ('last_at' if changes else 'opened_at') ~ ')', 1) }} as last_opened_at
    from {{ ref('int_id_islands') if changes else 'built_minutes' }}
    group by 1, 2

),

clocks as (

    select
        *,
        max(last_opened_at) over (partition by market) as newest_opened_at
    from symbols

),

-- Minutes that are known to be empty: up to the next traded one when no id is missing in between,
-- up to the market's newest one when the symbol has not traded since. Inside a hole of the ids
-- nothing is known, so there is no candle.
quiet_spans as (

    select
        market,
        symbol,
        close,
        last_trade_id as previous_trade_id,
        next_trade_id,
        opened_at as known_until,
        next_opened_at,
        next_opened_at is null or next_trade_id = last_trade_id + 1 as is_quiet
    from linked_minutes
    where is_linked_on
    {%- if changes %}
    union all
    -- the candles that end the symbols without news
    select
        market,
        symbol,
        close,
        if(trades > 0, last_trade_id, previous_trade_id) as previous_trade_id,
        null as next_trade_id,
        opened_at as known_until,
        null as next_opened_at,
        true as is_quiet
    from {{ this }}
    where
        {{ at_newest_minute() }}
        and (market, symbol) not in (
            select (market, symbol) from linked_minutes
            where is_linked_on and next_opened_at is null
        )
    {%- endif %}

),

empty_minutes as (

    select
        spans.market,
        spans.symbol,
        opened_at,
        spans.close as open,
        spans.close as high,
        spans.close as low,
        spans.close,
        numeric '0' as volume,
        numeric '0' as quote_volume,
        0 as trades,
        numeric '0' as taker_buy_volume,
        numeric '0' as taker_buy_quote_volume,
        -1 as first_trade_id,
        -1 as last_trade_id,
        '' as sources,
        spans.previous_trade_id,
        spans.next_trade_id,
        opened_at as replaced_until
    from quiet_spans as spans
    inner join clocks
        on
            spans.market = clocks.market
            and spans.symbol = clocks.symbol
    cross join
        unnest(
            generate_timestamp_array(
                timestamp_add(spans.known_until, interval 1 minute),
                coalesce(
                    timestamp_sub(spans.next_opened_at, interval 1 minute),
                    least(
                        clocks.newest_opened_at,
                        timestamp_add(
                            clocks.last_opened_at, interval {{ var('quiet_days') }} day
                        )
                    )
                ),
                interval 1 minute
            )
        ) as opened_at
    where spans.is_quiet

),

candles as (

    select
        minutes.* except (is_built, is_linked_back, is_linked_on, next_opened_at),
        case
            when not minutes.is_linked_on then timestamp_add(minutes.opened_at, interval 1 minute)
            else
                coalesce(
                    minutes.next_opened_at,
                    timestamp_add(clocks.newest_opened_at, interval 1 minute)
                )
        end as replaced_until
    from linked_minutes as minutes
    inner join clocks
        on
            minutes.market = clocks.market
            and minutes.symbol = clocks.symbol
    where minutes.is_linked_back or minutes.is_linked_on
    union all
    select * from empty_minutes

),

final as (

    select
        {{ candle_columns('replaced_until' if changes else none) }}
    from candles

)

select * from final
