{#- Every row makes `expression` true; a row where it is unknown (null) fails too. -#}
{% test truth(model, expression) %}

select *
from {{ model }}
where not coalesce({{ expression }}, false)

{% endtest %}
