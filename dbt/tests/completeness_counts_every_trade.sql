-- market_completeness accounts for every de-duplicated trade and every removed copy, by symbol.
with

kept as (

    select
        market,
        symbol,
        count(*) as present,
        sum(copies) - count(*) as duplicates_removed
    from {{ tested(ref('int_trades_deduplicated')) }}
    group by market, symbol

),

counted as (

    select
        market,
        symbol,
        sum(present) as present,
        sum(duplicates_removed) as duplicates_removed
    from {{ tested(ref('market_completeness')) }}
    group by market, symbol

)

select
    kept.*,
    counted.present as counted_present,
    counted.duplicates_removed as counted_duplicates_removed
from kept
full outer join counted
    on
        kept.market = counted.market
        and kept.symbol = counted.symbol
where
    not coalesce(
        kept.present = counted.present
        and kept.duplicates_removed = counted.duplicates_removed,
        false
    )
