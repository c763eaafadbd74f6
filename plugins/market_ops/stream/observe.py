"""Observe: ask each part how it is. No function here raises; what can't be asked has an `error`.

Everything is asked a few times before it counts as away, so that a restart is no incident. Clients
are made by what is asked for them, as credentials and connections may be what is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from ..repair.holes import ABSENT, Range, without
from ..warehouse import ask_if_there
from .observations import (
    BrokerSeen,
    CollectorSeen,
    ExchangeSeen,
    HoleSeen,
    JobSeen,
    JobState,
    LifeSeen,
    SymbolSeen,
    WarehouseSeen,
)
from .signals import ASKED_TRADES, dataflow_state, has_traded_on

if TYPE_CHECKING:
    from google.cloud import bigquery

TRIES: Final = 3
PAUSE_SECONDS: Final = 2.0
HTTP_SECONDS: Final = 5.0
BIGQUERY_SECONDS: Final = 20.0
# What is usual is learnt from so much of the past; it is also one partition of the ledgers.
LOOKBACK: Final = timedelta(days=1)
# Frames overtake each other by seconds; a sequence missing for so long does not come by itself.
SETTLED: Final = timedelta(minutes=5)
_ERROR_CHARACTERS: Final = 300

T = TypeVar("T")
Wait = Callable[[float], None]
Connect = Callable[[], Any]
# Ranges of ids by market and symbol.
Absences = Mapping[tuple[str, str], Sequence[Range]]


def observe_collector(url: str, wait: Wait = time.sleep) -> CollectorSeen:
    """Ask a collector's /healthz and /metrics."""

    def ask() -> CollectorSeen:
        health = _get(f"{url}/healthz", {200, 503}).json()
        metrics = parse_metrics(_get(f"{url}/metrics", {200}).text)
        closed = [each for each in health["connections"].values() if not each["is_open"]]
        return CollectorSeen(
            url=url,
            status=health["status"],
            collector=health["collector"],
            epoch=health["epoch"],
            is_dropping=health["is_dropping"],
            spooled_frames=metrics["collector_spooled_frames_total"],
            pending_frames=metrics["collector_pending_frames"],
            open_connections=metrics["collector_open_connections"],
            connections=len(health["connections"]),
            last_end=next((each["last_end"] for each in closed), ""),
        )

    return _tried(ask, lambda error: CollectorSeen(url=url, error=error), wait)


def parse_metrics(text: str) -> dict[str, int]:
    """Return the metrics without labels from Prometheus's text format.

    Their values are whole numbers: counters of frames and lines, sizes, states.
    """
    lines = (line.split() for line in text.splitlines() if line and line[0] != "#")
    return {line[0]: int(float(line[1])) for line in lines if len(line) == 2 and "{" not in line[0]}


def observe_local_job(url: str, wait: Wait = time.sleep) -> JobSeen:
    """Ask the /healthz of a job that runs as a process."""

    def ask() -> JobSeen:
        status = _get(f"{url}/healthz", {200, 503}).json()["status"]
        is_running = status == "running"
        return JobSeen(
            state=JobState.RUNNING if is_running else JobState.DOWN,
            detail=f"{url} says {status}",
        )

    return _tried(
        ask,
        lambda error: JobSeen(state=JobState.DOWN, detail=f"{url} does not answer: {error}"),
        wait,
    )


def observe_dataflow(
    connect: Connect,
    project: str,
    dataflow: Mapping[str, Any],
    at: datetime,
    wait: Wait = time.sleep,
) -> JobSeen:
    """Ask Dataflow for the jobs of the settings' name.

    Args:
        connect: returns a DataflowHook.
        project: project of the job.
        dataflow: the settings; without `template` a job is watched and never started.
        at: now.
        wait: waits so many seconds before the next try.
    """

    def ask() -> JobSeen:
        jobs = connect().get_conn().projects().locations().jobs()
        request = jobs.list(
            projectId=project, location=dataflow["region"], name=dataflow["job_name"]
        )
        seen = dataflow_state(request.execute(num_retries=0).get("jobs", []), at)
        return replace(seen, may_start=seen.may_start and bool(dataflow.get("template")))

    # Nobody can tell whether it runs: that is no fault of the job, and no reason to start one.
    return _tried(
        ask, lambda error: JobSeen(detail=f"Dataflow can't be asked for its job: {error}"), wait
    )


def start_dataflow(hook: Any, project: str, dataflow: Mapping[str, Any]) -> str:
    """Start the job from its flex template and return its id, without waiting for it.

    The name has no suffix: Dataflow itself refuses a second active job of a name.

    Args:
        hook: a DataflowHook.
        project: project of the job.
        dataflow: the settings `job_name`, `region`, `template` and `parameters`.
    """
    body = {
        "launchParameter": {
            "jobName": dataflow["job_name"],
            "containerSpecGcsPath": dataflow["template"],
            "parameters": dict(dataflow.get("parameters", {})),
        }
    }
    job = hook.launch_job_with_flex_template(
        body=body, location=dataflow["region"], project_id=project
    )
    return str(job["id"])


def observe_broker(
    connect: Connect, project: str, subscription: str, wait: Wait = time.sleep
) -> BrokerSeen:
    """Ask Pub/Sub for the job's subscription; `connect` returns a SubscriberClient."""

    def ask() -> BrokerSeen:
        connect().get_subscription(
            subscription=f"projects/{project}/subscriptions/{subscription}",
            timeout=HTTP_SECONDS,
            retry=None,
        )
        return BrokerSeen()

    return _tried(ask, lambda error: BrokerSeen(error=error), wait)


def observe_backlog(
    connect: Connect, project: str, subscription: str, seen: BrokerSeen, at: datetime
) -> BrokerSeen:
    """Add what Cloud Monitoring counts of the subscription; where it can't be asked, nothing.

    Args:
        connect: returns a MetricServiceClient.
        project: project of the subscription.
        subscription: its id.
        seen: what is known already.
        at: now.
    """

    def newest(metric: str) -> int | None:
        series = connect().list_time_series(
            request={
                "name": f"projects/{project}",
                "filter": (
                    f'metric.type = "pubsub.googleapis.com/subscription/{metric}"'
                    f' AND resource.labels.subscription_id = "{subscription}"'
                ),
                "interval": {"start_time": at - timedelta(minutes=10), "end_time": at},
                "view": "FULL",
            },
            timeout=HTTP_SECONDS,
            retry=None,
        )
        values = [point.value.int64_value for each in series for point in each.points[:1]]
        return int(values[0]) if values else None

    try:
        return replace(
            seen,
            backlog=newest("num_undelivered_messages"),
            oldest_seconds=newest("oldest_unacked_message_age"),
        )
    except Exception:
        # Measurements come late and are no part of the stream; the ledgers tell the same.
        return seen


def observe_exchange(
    url: str, asked: Mapping[str, int], at: datetime, wait: Wait = time.sleep
) -> ExchangeSeen:
    """Ask the exchange whether it answers, and whether silent symbols trade on there.

    Args:
        url: base address of REST.
        asked: symbols to ask for (weight 4 each), with the largest trade id that we have.
        at: now.
        wait: waits so many seconds before the next try.
    """

    def ask() -> ExchangeSeen:
        _get(f"{url}/api/v3/ping", {200})
        ahead = [symbol for symbol, last_id in asked.items() if is_ahead(symbol, last_id)]
        return ExchangeSeen(asked=tuple(asked), ahead=tuple(ahead))

    def is_ahead(symbol: str, last_id: int) -> bool:
        parameters = {"symbol": symbol, "limit": str(ASKED_TRADES)}
        response = _get(f"{url}/api/v3/aggTrades", {200, 400}, parameters)
        if response.status_code == 400:  # no longer listed: nothing can come
            return False
        trades = [(each["l"], _milliseconds(each["T"])) for each in response.json()]
        return has_traded_on(last_id, trades, at)

    return _tried(ask, lambda error: ExchangeSeen(error=error), wait)


def _milliseconds(value: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)


# A collector's life: the ledger's last sequence, and sequences missing below those that settled.
# What it healed from REST is in its sequence too; repairs and history have no stream.
LIVES: Final = """
with frames as (
  select distinct collector, epoch, sequence, source, closed_at
  from `{project}.ops.frames`
  where loaded_at >= timestamp_sub(@since, interval 10 minute)
),
bounds as (
  select
    collector,
    epoch,
    min(if(closed_at >= @since, sequence, null)) as first_sequence,
    max(if(closed_at < @settled, sequence, null)) as settled_sequence
  from frames
  group by 1, 2
  having countif(source = 'stream') > 0
)
select
  collector,
  epoch,
  max(sequence) as last_sequence,
  max(closed_at) as closed_at,
  max(settled_sequence - first_sequence + 1)
    - count(distinct if(sequence between first_sequence and settled_sequence, sequence, null))
    as missing
from frames
inner join bounds using (collector, epoch)
group by 1, 2
order by 1, 2
"""

# A symbol's silence in minutes in which the market was heard; repairs and history don't count.
SYMBOLS: Final = """
with arrivals as (
  select symbol, timestamp_trunc(loaded_at, minute) as minute, max(last_id) as last_id
  from `{project}.ops.frame_symbols`
  where
    loaded_at >= @since and channel = 'trade'
    and split(frame_id, '/')[safe_offset(0)] in unnest(@collectors)
  group by 1, 2
),
minutes as (
  select minute, row_number() over (order by minute) as number
  from (select distinct minute from arrivals)
),
steps as (
  select
    symbol,
    last_id,
    number,
    number - lag(number) over (partition by symbol order by number) - 1 as silent
  from arrivals
  inner join minutes using (minute)
)
select
  symbol,
  max(last_id) as last_id,
  (select max(number) from minutes) - max(number) as silent_minutes,
  max(silent) as usual_minutes,
  count(*) as heard_minutes
from steps
group by 1
order by 1
"""

HOLES: Final = """
select
  market,
  symbol,
  first_missing_id as first_id,
  last_missing_id as last_id,
  missing,
  previous_traded_at as before,
  next_traded_at as after
from `{project}.intermediate.int_id_holes`
where not is_unpublished and next_traded_at < @settled
order by missing desc, symbol, first_id
limit 1000
"""

# Ids that were never traded, as two witnesses say; dbt knows those only that aggregates prove.
ABSENCES: Final = f"""
select
  market,
  symbol,
  first_missing_id as first_id,
  last_missing_id as last_id
from `{{project}}.ops.holes`
where
  outcome = '{ABSENT}' and channel = 'trade' and found_at >= timestamp '2017-01-01'
  and symbol in unnest(@symbols)
"""  # noqa: S608 - a constant of ours


def observe_warehouse(
    connect: Callable[[], bigquery.Client], at: datetime, wait: Wait = time.sleep
) -> WarehouseSeen:
    """Ask BigQuery for the ledgers and the open holes.

    A table that does not exist yet has no rows: nothing was loaded, or no mart was built.

    Args:
        connect: returns a client of the datasets' project.
        at: now.
        wait: waits so many seconds before the next try.
    """
    times = {"since": at - LOOKBACK, "settled": at - SETTLED}

    def ask() -> WarehouseSeen:
        client = connect()
        lives = tuple(
            LifeSeen(**{**row, "missing": row["missing"] or 0})
            for row in query(client, LIVES, times)
        )
        collectors = sorted({life.collector for life in lives})
        symbols = query(client, SYMBOLS, {"since": times["since"], "collectors": collectors})
        holes = query(client, HOLES, {"settled": times["settled"]})
        absent = absences(client, holes)
        return WarehouseSeen(
            lives=lives,
            symbols=tuple(SymbolSeen(**row) for row in symbols),
            holes=tuple(sorted(open_holes(holes, absent), key=lambda hole: -hole.missing)),
        )

    return _tried(ask, lambda error: WarehouseSeen(error=error), wait)


def absences(client: bigquery.Client, holes: Iterable[Mapping[str, Any]]) -> Absences:
    """Ask for the ids of these holes' symbols that are known to be absent at the source."""
    symbols = sorted({hole["symbol"] for hole in holes})
    found: dict[tuple[str, str], list[Range]] = {}
    for row in query(client, ABSENCES, {"symbols": symbols}) if symbols else ():
        ranges = found.setdefault((row["market"], row["symbol"]), [])
        ranges.append((row["first_id"], row["last_id"]))
    return found


def open_holes(holes: Iterable[Mapping[str, Any]], absent: Absences) -> Iterator[HoleSeen]:
    """Yield what is open of rows of HOLES: without the ids that are absent at the source."""
    for hole in holes:
        whole = hole["first_id"], hole["last_id"]
        for first, last in without(whole, absent.get((hole["market"], hole["symbol"]), ())):
            yield HoleSeen(
                symbol=hole["symbol"],
                first_id=first,
                last_id=last,
                missing=last - first + 1,
                before=hole["before"],
                after=hole["after"],
            )


def query(
    client: bigquery.Client, sql: str, parameters: Mapping[str, datetime | list[str]]
) -> list[dict[str, Any]]:
    """Return a query's rows within the look's limit; none when a table does not exist yet."""
    return ask_if_there(client, sql, parameters, seconds=BIGQUERY_SECONDS)


def _get(url: str, codes: set[int], parameters: Mapping[str, str] | None = None) -> httpx.Response:
    response = httpx.get(url, params=parameters, timeout=HTTP_SECONDS)
    if response.status_code not in codes:
        raise ValueError(f"{url}: HTTP {response.status_code}")
    return response


def _tried(ask: Callable[[], T], away: Callable[[str], T], wait: Wait) -> T:
    """Ask up to `TRIES` times; then it is away."""
    for number in range(1, TRIES + 1):
        try:
            return ask()
        except Exception as error:
            # Whatever it is: not to be told how a part is, is what we were asked to find out.
            reason = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
        if number < TRIES:
            wait(PAUSE_SECONDS)
    return away(reason)
