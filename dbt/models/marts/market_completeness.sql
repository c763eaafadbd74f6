{{
    config(
        meta={'pruned_by': 'timestamp(traded_on)'},
        partition_by=partition_by_day('traded_on', 'date'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}

with

days as (

    select
        *,
        date(opened_at) as traded_on
    from {{ ref('int_trade_days') }}

),

holes as (

    select * from {{ ref('int_id_holes') }}

),

-- A hole across midnight stands with the day after it.
hole_days as (

    select
        market,
        symbol,
        date(next_traded_at) as traded_on,
        count(*) as holes,
        cast(sum(if(is_unpublished, missing, 0)) as int64) as unpublished,
        countif(not is_unpublished) as lost,
        countif(not is_unpublished and date(previous_traded_at) < date(next_traded_at))
            as lost_before
    from holes
    group by 1, 2, 3

),

counted as (

    select
        days.*,
        coalesce(hole_days.holes, 0) as holes,
        coalesce(hole_days.unpublished, 0) as unpublished,
        coalesce(hole_days.lost, 0) as lost,
        lag(days.last_id) over symbol_days as previous_id,
        lead(days.first_id) over symbol_days as next_id,
        coalesce(lead(hole_days.lost_before) over symbol_days, 0) as lost_after
    from days
    left join hole_days
        on
            days.market = hole_days.market
            and days.symbol = hole_days.symbol
            and days.traded_on = hole_days.traded_on
    window symbol_days as (partition by days.market, days.symbol order by days.traded_on)

),

final as (

    select
        market,
        symbol,
        traded_on,
        first_id,
        last_id,
        last_id - first_id + 1 as expected,
        trades as present,
        last_id - first_id + 1 - trades as missing,
        coalesce(first_id - previous_id - 1, 0) as missing_before,
        holes,
        unpublished,
        duplicates_removed,
        conflicts,
        healed,
        case
            when lost > 0 or lost_after > 0 then 'INCOMPLETE'
            when next_id is null then 'PROVISIONAL'
            else 'FINAL'
        end as verdict
    from counted

)

select * from final
