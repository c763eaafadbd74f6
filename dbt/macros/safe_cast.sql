{#-
  Casts of fixtures in unit tests. NUMERIC(38, 9) is BigQuery's NUMERIC spelled out; without it the
  emulator would keep three decimals.
-#}
{% macro bigquery__safe_cast(field, type) -%}
    safe_cast({{ field }} as {{ 'numeric(38, 9)' if type | lower == 'numeric' else type }})
{%- endmacro %}
