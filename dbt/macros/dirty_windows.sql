{#-
  Incremental models over dirty windows: a model recomputes what its upstream wrote since its own
  last build, and replaces exactly those rows. ops.model_builds remembers the builds: one row per
  model, market and day with the times of the rows written, so that every scan gets literal times
  to prune partitions by and nothing asks a large table for its maximum.

  A model of this kind is `materialized='incremental'` with these settings in `meta`:
    replaces: condition over `target` and `new` (market and symbol are equal) under which a row of
      the table makes way for a new one; a row may be replaced by one new row only.
    keys: columns that say which rows `replaces` may compare; market and symbol if not given.
    times: columns with the first and the last time of a row; the first is its partition column.
    written_until: expression for the last time that a new row has a say about, if not its own.
    gone: condition over `new` for rows that only delete; none if not given.
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

{#- A time in UTC as a constant; the emulator mistakes the decimals of a TIMESTAMP literal for a number. -#}
{% macro constant_time(at) -%}
    timestamp_micros({{ (at.timestamp() | int) * 1000000 + at.microsecond }})
{%- endmacro %}

{#- The start of this run: all rows that a run writes carry the same time. -#}
{% macro built_now() -%}
    {{ constant_time(run_started_at) }}
{%- endmacro %}

{#-
  What one of the given upstreams wrote since the last build of this model: {since: literal,
  ranges: [(first, last)] in order, without overlaps}. None when this model is built in full.
-#}
{% macro changes_of() -%}
    {%- if not (execute and this and is_incremental()) -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set found = run_query("
        with known as (
            select coalesce(max(built_at), timestamp '1970-01-01') as since
            from " ~ model_builds() ~ "
            where model = '" ~ model.name ~ "'
        )
        select
            since,
            cast(null as timestamp) as first_at,
            cast(null as timestamp) as last_at
        from known
        union all
        select
            known.since,
            builds.first_at,
            builds.last_at
        from " ~ model_builds() ~ " as builds
        cross join known
        where
            builds.model in ('" ~ varargs | map(attribute='identifier') | join("', '") ~ "')
            and builds.built_at > known.since
        order by first_at nulls first
    ").rows -%}
    {%- set since = found[0][0] -%}
    {%- if since > run_started_at -%}
        {%- do stop_for_another_run(model.name) -%}
    {%- endif -%}
    {%- set ranges = [] -%}
    {%- for _, first, last in found[1:] -%}
        {%- if ranges and first <= ranges[-1][1] -%}
            {%- set before = ranges.pop() -%}
            {%- do ranges.append((before[0], [before[1], last] | max)) -%}
        {%- else -%}
            {%- do ranges.append((first, last)) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return({'since': constant_time(since), 'ranges': ranges}) }}
{%- endmacro %}

{#-
  Two runs at once would each miss what the other wrote. A run stops before a model that another run
  built after it had asked what is new: the constant in the model's SQL is not the last build.
-#}
{% macro stop_if_overtaken(name, last_built_at, sql) -%}
    {%- if constant_time(last_built_at) not in sql -%}
        {%- do stop_for_another_run(name) -%}
    {%- endif -%}
{%- endmacro %}

{% macro stop_for_another_run(name) -%}
    {%- do exceptions.raise_compiler_error(
        name ~ ": another dbt run built it while this run was under way; nothing was changed."
        ~ " Wait until the other run has ended, then run again"
    ) -%}
{%- endmacro %}

{#- The days, as ranges, that one of the columns has in the relation's rows with the condition. -#}
{% macro days_with(relation, columns, condition) -%}
    {%- set days = [] -%}
    {%- set found = run_query(
        "select distinct timestamp_trunc(at, day) from " ~ relation ~ ", unnest(["
        ~ columns | join(', ') ~ "]) as at where " ~ condition ~ " order by 1"
    ).columns[0].values() -%}
    {%- for day in found -%}
        {%- do days.append((day, day + modules.datetime.timedelta(days=1, microseconds=-1))) -%}
    {%- endfor -%}
    {{ return(days) }}
{%- endmacro %}

{#-
  Condition: `column` lies in one of the ranges, each widened to whole spans of `minutes`. BigQuery
  wants a condition in any case: a build in full has no ranges and takes all times since 1970, a
  build without news has none at all and takes those before.
-#}
{% macro within(ranges, column, minutes=none) -%}
    {%- if ranges is undefined or ranges is none -%}
        {{ return(column ~ ' >= timestamp_micros(0)') }}
    {%- endif -%}
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
        {{ column }} < timestamp_micros(0)
    {%- endfor -%}
{%- endmacro %}

{#- The start of the ranges as a constant, some days earlier; far away when there are none. -#}
{% macro earliest(ranges, days_before=0) -%}
    {%- if ranges -%}
        {{ constant_time(ranges[0][0] - modules.datetime.timedelta(days=days_before)) }}
    {%- else -%}
        timestamp '9999-01-01'
    {%- endif -%}
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
    {%- set last = config.get('meta').get('written_until', last) -%}
    {%- set columns = model.columns.keys() | join(', ') -%}
    {%- set first_at, last_at, last_built_at = run_query("
        select
            min(" ~ first ~ "),
            max(" ~ last ~ "),
            (
                select coalesce(max(built_at), timestamp '1970-01-01')
                from " ~ model_builds() ~ "
                where model = '" ~ model.name ~ "'
            )
        from " ~ tmp_relation
    ).rows[0] -%}
    {%- if first_at is not none -%}
        {%- do stop_if_overtaken(model.name, last_built_at, sql) -%}
        merge into {{ target_relation }} as target
        using (
            select * from {{ tmp_relation }} cross join unnest([true, false]) as is_new
        ) as new
        on
            target.{{ first }} between {{ constant_time(first_at) }} and {{ constant_time(last_at) }}
            {%- for key in config.get('meta').get('keys', ['market', 'symbol']) %}
            and target.{{ key }} = if(new.is_new, null, new.{{ key }})
            {%- endfor %}
            and {{ config.get('meta').replaces }}
        when matched then delete
        when not matched and new.is_new and not {{ config.get("meta").get("gone", "false") }}
        then insert ({{ columns }}) values ({{ columns }});
        insert into {{ model_builds() }}
        select
            '{{ model.name }}', market, min({{ first }}), max({{ last }}), count(*),
            {{ built_now() }}
        from {{ tmp_relation }}
        group by market, date({{ first }});
    {%- else -%}
        select 0 as written
    {%- endif -%}
{%- endmacro %}

{#-
  Replaces dbt's check, with its signature: a table whose columns are not the documented ones is
  built anew, never altered. What it returns spares dbt to ask again; the MERGE takes the documented
  columns.
-#}
{% macro bigquery__process_schema_changes(on_schema_change, source_relation, target_relation) -%}
    {%- set documented = model.columns.keys() | list -%}
    {%- set columns = adapter.get_columns_in_relation(target_relation) -%}
    {%- set found = columns | map(attribute='name') | list -%}
    {%- if documented != found -%}
        {%- do exceptions.raise_compiler_error(
            model.name ~ ": the table's columns are " ~ found | join(', ') ~ "; documented are "
            ~ documented | join(', ') ~ ". Build it anew: dbt run --full-refresh --select "
            ~ model.name ~ "+"
        ) -%}
    {%- endif -%}
    {{ return(columns) }}
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
        where {{ within(none, first) }}
        group by market, date({{ first }})
    {%- endif -%}
{%- endmacro %}
