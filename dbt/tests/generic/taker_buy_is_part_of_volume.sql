{#- Takers bought at most what was traded, in base and in quote asset. -#}
{% test taker_buy_is_part_of_volume(model) %}

select *
from {{ model }}
where
    not coalesce(
        taker_buy_volume between 0 and volume
        and taker_buy_quote_volume between 0 and quote_volume,
        false
    )

{% endtest %}
