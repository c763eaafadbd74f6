with

symbols as (

    select * from {{ ref('stg_symbols') }}

),

entries as (

    select * from symbols
    qualify
        row_number() over (
            partition by market, symbol, collector, received_at
            order by loaded_at, frame_id
        ) = 1

),

snapshots as (

    select
        market,
        collector,
        received_at,
        count(*) = max(listed_symbols) as is_complete
    from entries
    group by 1, 2, 3

),

followed_snapshots as (

    select
        market,
        collector,
        received_at,
        min(if(is_complete, received_at, null)) over (
            partition by market
            order by received_at
            rows between 1 following and unbounded following
        ) as next_complete_at
    from snapshots

),

followed_entries as (

    select
        entries.*,
        followed_snapshots.next_complete_at,
        lead(entries.received_at) over (
            partition by entries.market, entries.symbol
            order by entries.received_at
        ) as next_entry_at
    from entries
    inner join followed_snapshots
        on
            entries.market = followed_snapshots.market
            and entries.collector = followed_snapshots.collector
            and entries.received_at = followed_snapshots.received_at

),

absences as (

    -- A whole snapshot between two entries of a symbol does not have it.
    select * from followed_entries
    where next_entry_at is null or next_complete_at < next_entry_at

),

final as (

    select
        market,
        symbol,
        received_at as seen_at,
        status,
        base_asset,
        quote_asset,
        tick_size,
        step_size
    from entries
    union all
    select
        market,
        symbol,
        next_complete_at as seen_at,
        'DELISTED' as status,
        base_asset,
        quote_asset,
        tick_size,
        step_size
    from absences
    where next_complete_at is not null

)

select * from final
