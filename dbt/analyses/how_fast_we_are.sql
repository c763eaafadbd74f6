-- Latency by day and stage, in milliseconds; a negative one is a clock that is ahead.
select
    date(opened_at) as traded_on,
    stage,
    max(p50_us) / 1000 as slowest_p50_ms,
    max(p99_us) / 1000 as slowest_p99_ms,
    max(max_us) / 1000 as max_ms,
    sum(negative) as negative
from {{ ref('pipeline_latency') }}
group by 1, 2
order by 1, 2
