{#-
  The one aggregation: candles of `minutes` minutes from finer candles, or from trades when each
  trade is given as a candle of its own (open = high = low = close = price, trades = 1).

  Arguments:
    candles: relation or CTE with the columns of ohlcv_1m up to `sources`.
    minutes: length of the new candles; divides a day.
    also: further aggregates, as SQL.

  Rules (Binance's klines, reproduced exactly from recorded trades):
  * First and last are by trade id, never by time: most trades share their millisecond.
  * A candle without trades (trades = 0, ids -1) only counts where nothing was traded at all:
    its carried-over price is neither open nor high nor low of a coarser candle with trades.

  Integer sums are cast back to int64: BigQuery has them already, the emulator widens them.
-#}
{% macro aggregate_candles(candles, minutes, also=none) -%}
    {%- set after_every_id = 9223372036854775807 -%}
    select
        market,
        symbol,
        {{ floor_to('opened_at', minutes) }} as opened_at,
        min_by(open, if(trades > 0, first_trade_id, {{ after_every_id }})) as open,
        coalesce(max(if(trades > 0, high, null)), max(high)) as high,
        coalesce(min(if(trades > 0, low, null)), min(low)) as low,
        max_by(close, last_trade_id) as close,
        sum(volume) as volume,
        sum(quote_volume) as quote_volume,
        cast(sum(trades) as int64) as trades,
        sum(taker_buy_volume) as taker_buy_volume,
        sum(taker_buy_quote_volume) as taker_buy_quote_volume,
        coalesce(min(if(trades > 0, first_trade_id, null)), -1) as first_trade_id,
        max(last_trade_id) as last_trade_id,
        nullif(min(coalesce(previous_trade_id, -1)), -1) as previous_trade_id,
        nullif(max(coalesce(next_trade_id, {{ after_every_id }})), {{ after_every_id }})
            as next_trade_id,
        array_to_string([
            if(countif(strpos(sources, 'archive') > 0) > 0, 'archive', null),
            if(countif(strpos(sources, 'rest') > 0) > 0, 'rest', null),
            if(countif(strpos(sources, 'stream') > 0) > 0, 'stream', null)
        ], ',') as sources{{ ', ' ~ also if also }}
    from {{ candles }}
    group by 1, 2, 3
{%- endmacro %}

{#- The start of the span of `minutes` minutes, counted from midnight UTC, that `at` lies in. -#}
{% macro floor_to(at, minutes) -%}
    {%- set microseconds = minutes * 60 * 1000000 -%}
    timestamp_micros(div(unix_micros({{ at }}), {{ microseconds }}) * {{ microseconds }})
{%- endmacro %}

{#-
  The columns of a candle mart, in order, from candles as aggregate_candles makes them; `also` is a
  further expression.
-#}
{% macro candle_columns(also=none) -%}
    market,
    symbol,
    opened_at,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    trades,
    taker_buy_volume,
    taker_buy_quote_volume,
    first_trade_id,
    last_trade_id,
    previous_trade_id,
    next_trade_id,
    quote_volume / nullif(volume, 0) as vwap,
    if(
        trades = 0,
        0,
        coalesce(next_trade_id, last_trade_id + 1)
        - coalesce(previous_trade_id, first_trade_id - 1)
        - 1
        - trades
    ) as missing_trades,
    sources,
    coalesce(next_trade_id - previous_trade_id - 1 = trades, false) as is_final,
    {{ built_now() }} as built_at{{ ', ' ~ also if also }}
{%- endmacro %}

{#-
  The rows of a candle mart from the CTE `finer`, which holds all finer candles of the spans of
  `minutes` minutes to build. `changes` are those of the finer candles; only spans with a changed
  candle are built. None builds all.

  No candle stands between two finer ones whose ids follow each other: what stood there (empty
  minutes that turned out to lie in a hole) is replaced by nothing.
-#}
{% macro coarser_candles(minutes, changes) -%}
    {%- set changed -%}
    (
        select
            *,
            if(next_trade_id = lead(first_trade_id) over in_time, lead(opened_at) over in_time, null)
                as next_opened_at
        from finer
        qualify
            logical_or(built_at > {{ changes.since }}) over (
                partition by market, symbol, {{ floor_to('opened_at', minutes) }}
            )
        window in_time as (partition by market, symbol order by opened_at)
    )
    {%- endset -%}
    {%- set replaced_until -%}
    greatest(
        timestamp_add(opened_at, interval {{ minutes }} minute),
        coalesce({{ floor_to('next_opened_at', minutes) }}, opened_at)
    ) as replaced_until
    {%- endset -%}
    select
        {{ candle_columns(replaced_until if changes else none) }}
    from (
    {{ aggregate_candles(changed, minutes, also='max(next_opened_at) as next_opened_at')
        if changes else aggregate_candles('finer', minutes) }}
    )
{%- endmacro %}

{#- A candle makes way for those of its symbol that say what stands in its span now. -#}
{% macro replaces_candles() -%}
    {{ return(
        'target.opened_at >= new.opened_at and target.opened_at < new.replaced_until'
    ) }}
{%- endmacro %}
