{#- low <= open, close <= high. -#}
{% test candle_prices_are_ordered(model) %}

select *
from {{ model }}
where not coalesce(low <= least(open, close) and greatest(open, close) <= high, false)

{% endtest %}
