{#-
  Where the traded minutes next to changed ones can lie: in the same day, or at the edge of the
  symbol's island before or after it. The times of those days, as ranges to read candles in.
-#}
{% macro neighbourhood(islands) -%}
    {%- set changes = changes_of(islands) -%}
    {%- if not changes -%}
        {{ return(none) }}
    {%- endif -%}
    {{ return(run_query("
        select
            min(coalesce(last_at_before, timestamp(traded_on))),
            max(coalesce(first_at_after, timestamp(date_add(traded_on, interval 1 day))))
        from (
            select
                *,
                lag(last_at) over symbol_islands as last_at_before,
                lead(first_at) over symbol_islands as first_at_after
            from " ~ islands ~ "
            window symbol_islands as (partition by market, symbol order by first_id)
        )
        where built_at > " ~ changes.since ~ "
        group by traded_on
        order by traded_on
    ").rows | map('list') | list) }}
{%- endmacro %}

{#- Condition: a candle of `this` stands at the newest minute that its market had so far. -#}
{% macro at_newest_minute() -%}
    {%- set newest = run_query(
        "select market, max(last_at) from " ~ model_builds()
        ~ " where model = '" ~ model.name ~ "' group by market"
    ).rows -%}
    {%- for market, opened_at in newest -%}
        {{ '(' if loop.first else ' or ' -}}
        (market = '{{ market }}' and opened_at = {{ constant_time(opened_at) }})
        {{- ')' if loop.last }}
    {%- else -%}
        false
    {%- endfor -%}
{%- endmacro %}
