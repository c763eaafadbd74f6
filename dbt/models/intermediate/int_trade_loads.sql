{{
    config(
        materialized='incremental',
        meta={'replaces': 'false', 'times': ['first_at', 'last_at']},
        partition_by=partition_by_day('built_at'),
        cluster_by=cluster_on(['market', 'symbol']),
    )
}}
{%- set news = changes_of(this) %}
{%- set visible_since = (
    'timestamp_sub(' ~ news.since ~ ', interval ' ~ var('load_overlap_hours') ~ ' hour)'
    if news else "timestamp '1970-01-01'"
) %}

with

ledger as (

    select * from {{ ref('stg_frame_symbols') }}
    where channel = 'trade' and loaded_at >= {{ visible_since }}

),

final as (

    select distinct
        frame_id,
        loaded_at,
        market,
        symbol,
        first_at,
        last_at,
        {{ built_now() }} as built_at
    from ledger
    {%- if news %}
    where
        not exists (
            select 1
            from {{ this }} as known
            where
                known.built_at >= {{ visible_since }}
                and known.frame_id = ledger.frame_id
                and known.symbol = ledger.symbol
                and known.loaded_at = ledger.loaded_at
        )
    {%- endif %}

)

select * from final
