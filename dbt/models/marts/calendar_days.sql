with

trade_days as (

    select * from {{ ref('int_trade_days') }}

),

span as (

    select
        min(date(opened_at)) as first_day,
        max(date(opened_at)) as last_day
    from trade_days

),

final as (

    select day
    from span
    cross join unnest(generate_date_array(span.first_day, span.last_day)) as day

)

select * from final
