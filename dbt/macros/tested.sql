{#-
  What data tests read of a relation: its rows since midnight `tested_days` days ago (var; null for
  all). Everything on `local`; in BigQuery a test that read all of it would cost the more the older
  the platform gets. Days are whole, so totals of a day can be compared; a window's first row has no
  row before it, which `tested_from_the_start` tells.
-#}
{% macro tested(relation) -%}
    {%- set column = pruning_column(relation) if execute else none -%}
    {%- if not column -%}
        {{ return(relation) }}
    {%- endif -%}
    {{ return('(select * from ' ~ relation ~ ' where ' ~ column ~ ' >= ' ~ tested_since() ~ ')') }}
{%- endmacro %}

{% macro tested_days() -%}
    {{ return(var('tested_days', none if target.name == 'local' else 3)) }}
{%- endmacro %}

{% macro tested_since() -%}
    {%- if tested_days() is none -%}
        {{ return('timestamp_micros(0)') }}
    {%- endif -%}
    {%- set midnight = run_started_at.replace(hour=0, minute=0, second=0, microsecond=0) -%}
    {{ return(constant_time(midnight - modules.datetime.timedelta(days=tested_days()))) }}
{%- endmacro %}

{#- The column that partitions a model's rows by time; none for what is small. -#}
{% macro pruning_column(relation) -%}
    {%- for node in graph.nodes.values() if node.name == relation.identifier -%}
        {%- set meta = node.config.meta -%}
        {{ return(meta.times[0] if meta.times else meta.pruned_by or none) }}
    {%- endfor -%}
{%- endmacro %}

{#- dbt's own tests and ours get their model through this. -#}
{% macro bigquery__get_where_subquery(relation) -%}
    {%- set where = config.get('where') -%}
    {%- set rows = tested(relation) -%}
    {{ return('(select * from ' ~ rows ~ ' where ' ~ where ~ ')' if where else rows) }}
{%- endmacro %}
