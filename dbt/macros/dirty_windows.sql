{#-
  Incremental models over dirty windows: a model recomputes what its upstream wrote since its own
  last build, and replaces exactly those rows. ops.model_builds remembers the builds: one row per
  model, market and day with the times of the rows written, so that every scan gets literal times
  to prune partitions by and nothing asks a large table for its maximum.

  A model of this kind is `materialized='incremental'` with two settings in `meta`:
    replaces: condition over `target` and `new` (market and symbol are equal) under which a row of
      the table makes way for a new one; a row may be replaced by one new row only.
    keys: columns that say which rows `replaces` may compare; market and symbol if not given.
    times: columns with the first and the last time of a row; the first is its partition column.
-#}
{% macro model_builds() -%}
    {{ return(api.Relation.create(
        database=target.database, schema='ops', identifier='model_builds', type='table'
    )) }}
{%- endmacro %}

{% macro create_model_builds() -%}
    create table if not exists {{ model_builds() }} (
        model string, market string, first_at timestamp, last_at timestamp,
        written int64, built_at timestamp
    )
{%- endmacro %}

{#- A time as a constant; the emulator mistakes the decimals of a TIMESTAMP literal for a number. -#}
{% macro constant_time(at) -%}
    timestamp_micros({{ (at.timestamp() | int) * 1000000 + at.microsecond }})
{%- endmacro %}

{#- The start of this run: all rows that a run writes carry the same time. -#}
{% macro built_now() -%}
    {{ constant_time(run_started_at) }}
{%- endmacro %}

{#-
  What `upstream` wrote since the last build of this model: {since: literal, ranges: [(first, last)]}.
  None when this model is built in full.
-#}
{% macro changes_of(upstream) -%}
    {%- if not (execute and this and is_incremental()) -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set found = run_query("
        with own as (
            select coalesce(max(built_at), timestamp '1970-01-01') as since
            from " ~ model_builds() ~ " where model = '" ~ model.name ~ "'
        )
        select own.since, builds.first_at, builds.last_at
        from own
        left join " ~ model_builds() ~ " as builds
            on builds.model = '" ~ upstream.identifier ~ "' and builds.built_at > own.since
        order by builds.first_at
    ") -%}
    {%- set ranges = [] -%}
    {%- for row in found.rows if row[1] is not none -%}
        {%- do ranges.append((row[1], row[2])) -%}
    {%- endfor -%}
    {{ return({'since': constant_time(found.rows[0][0]), 'ranges': ranges}) }}
{%- endmacro %}

{#- Condition: `column` lies in one of the ranges, each widened to whole spans of `minutes`. -#}
{% macro within(ranges, column, minutes=none) -%}
    {%- set ranges = ranges if ranges | length <= 31 else [(ranges[0][0], ranges | map('last') | max)]
    -%}
    {%- for first, last in ranges -%}
        {%- set last = floor_time(last, minutes)
            + modules.datetime.timedelta(minutes=minutes or 0, microseconds=0 if minutes else 1) %}
        {{- '(' if loop.first else ' or ' -}}
        {{ column }} >= {{ constant_time(floor_time(first, minutes)) }}
        and {{ column }} < {{ constant_time(last) }}
        {{- ')' if loop.last }}
    {%- else -%}
        false
    {%- endfor -%}
{%- endmacro %}

{% macro floor_time(at, minutes=none) -%}
    {%- if minutes is none -%}
        {{ return(at) }}
    {%- endif -%}
    {{ return(at - modules.datetime.timedelta(
        minutes=(at.hour * 60 + at.minute) % minutes, seconds=at.second, microseconds=at.microsecond
    )) }}
{%- endmacro %}

{#-
  Replaces dbt-bigquery's merge on a unique key, with its signature. One MERGE statement: readers
  see the old rows or the new ones. The build is logged afterwards; if that fails, the next run
  repeats the build, which changes nothing.
-#}
{% macro bq_generate_incremental_merge_build_sql(
    tmp_relation, target_relation, sql, unique_key, partition_by, dest_columns,
    tmp_relation_exists, incremental_predicates
) -%}
    {%- set first, last = config.get('meta').times -%}
    {%- set columns = model.columns.keys() | join(', ') -%}
    {%- do run_query("create or replace table " ~ tmp_relation ~ " as (" ~ sql ~ ")") -%}
    {%- set written = run_query(
        "select market, min(" ~ first ~ "), max(" ~ last ~ "), count(*) from " ~ tmp_relation
        ~ " group by market, date(" ~ first ~ ")"
    ).rows -%}
    {%- if written -%}
        merge into {{ target_relation }} as target
        using (
            select * from {{ tmp_relation }} cross join unnest([true, false]) as is_new
        ) as new
        on
            not new.is_new
            and target.{{ first }} between {{ constant_time(written | map(attribute=1) | min) }}
            and {{ constant_time(written | map(attribute=2) | max) }}
            {%- for key in config.get('meta').get('keys', ['market', 'symbol']) %}
            and target.{{ key }} = new.{{ key }}
            {%- endfor %}
            and {{ config.get('meta').replaces }}
        when matched then delete
        when not matched and new.is_new then insert ({{ columns }}) values ({{ columns }});
        insert into {{ model_builds() }} values
        {%- for market, first_at, last_at, rows in written %}
            (
                '{{ model.name }}', '{{ market }}', {{ constant_time(first_at) }},
                {{ constant_time(last_at) }}, {{ rows }}, {{ built_now() }}
            ){{ ',' if not loop.last }}
        {%- endfor %};
        drop table {{ tmp_relation }};
    {%- else -%}
        drop table {{ tmp_relation }}
    {%- endif -%}
{%- endmacro %}

{#- Post-hook of incremental models: logs a build in full, which no MERGE has logged. -#}
{% macro log_full_build() -%}
    {%- if execute and config.get('meta', {}).times and not is_incremental() -%}
        {%- set first, last = config.get('meta').times -%}
        insert into {{ model_builds() }}
        select
            '{{ model.name }}', market, min({{ first }}), max({{ last }}), count(*),
            {{ built_now() }}
        from {{ this }}
        group by market, date({{ first }})
    {%- endif -%}
{%- endmacro %}
