{#-
  The loads in the ledger that this model has not: rows are only added, and what was added since a
  model's last build is what it has to look at. A ledger's row is visible at the latest
  load_overlap_hours after its loaded_at.

  Arguments:
    channel: whose loads.
    ledger: relation of ops.frame_symbols.
-#}
{% macro loads_of(channel, ledger) -%}
    {%- set news = changes_of(this) -%}
    {%- set visible_since = (
        'timestamp_sub(' ~ news.since ~ ', interval ' ~ var('load_overlap_hours') ~ ' hour)'
        if news else 'timestamp_micros(0)'
    ) -%}
    select distinct
        frame_id,
        loaded_at,
        market,
        symbol,
        first_at,
        last_at,
        {{ built_now() }} as built_at
    from {{ ledger }} as ledger
    where channel = '{{ channel }}' and loaded_at >= {{ visible_since }}
    {%- if news %}
    and not exists (
        select 1
        from {{ this }} as known
        where
            known.built_at >= {{ visible_since }}
            and known.frame_id = ledger.frame_id
            and known.symbol = ledger.symbol
            and known.loaded_at = ledger.loaded_at
    )
    {%- endif %}
{%- endmacro %}
