{#-
  How a table lies in BigQuery. The emulator does not report partitions and clusters back, so dbt
  would think that they changed, drop the table and leave readers without it at every run: `local`
  has none.
-#}
{% macro partition_by_day(column, data_type='timestamp') -%}
    {{ return(none if target.name == 'local' else {
        'field': column, 'data_type': data_type, 'granularity': 'day',
    }) }}
{%- endmacro %}

{% macro cluster_on(columns) -%}
    {{ return(none if target.name == 'local' else columns) }}
{%- endmacro %}
