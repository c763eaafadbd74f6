{#- Datasets are exactly raw, staging, intermediate, marts and ops: no prefix of the target's. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
