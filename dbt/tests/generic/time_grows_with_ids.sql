{#- A trade with a larger id was not traded earlier. -#}
{% test time_grows_with_ids(model) %}

with

trades as (

    select
        *,
        lag(traded_at) over (
            partition by market, symbol
            order by trade_id
        ) as traded_before
    from {{ model }}

)

select *
from trades
where traded_at < traded_before

{% endtest %}
