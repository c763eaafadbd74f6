"""Signals: what the decision table looks at, from observations. Pure; the thresholds are here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .decisions import Broker, Collectors, Exchange, Flow, Ledger, Signals, Warehouse, Witness
from .observations import CollectorSeen, JobSeen, JobState, LifeSeen, Observations, SymbolSeen

# A collector needs exchangeInfo and up to a few minutes of connection limits to be open at first.
START_SECONDS: Final = 180
# Above what the publisher holds in flight by design (512): Pub/Sub takes less than is made.
PENDING_FRAMES: Final = 1_000
# Fewer frames on the way are normal at any moment, however old the newest one loaded is.
IN_FLIGHT_FRAMES: Final = 20
LAG_SECONDS: Final = 120
# Binance's markets together are never silent for so long outside of maintenance.
SILENT_SECONDS: Final = 180
# A symbol is suspect when it is silent for so many times its own longest silence of the day.
SILENCE_FACTOR: Final = 2
# Suspects are asked for at the exchange, at a weight of 4 each out of 6,000 a minute.
WITNESSES: Final = 10
ASKED_TRADES: Final = 100
# A job that was drained, cancelled or updated was so on purpose: leave it alone for so long.
ON_PURPOSE: Final = timedelta(hours=1)
# A job that fails at once is not started again and again.
START_AGAIN: Final = timedelta(minutes=10)


def signals_of(seen: Observations) -> Signals:
    """Reduce observations to signals."""
    states = {collector_state(collector, seen.at) for collector in seen.collectors}
    worst = next((state for state in Collectors if state in states), Collectors.UNWATCHED)
    return Signals(
        collector=worst,
        exchange=Exchange.AWAY if seen.exchange.error else Exchange.OK,
        broker=_broker(seen),
        job=seen.job.state,
        warehouse=Warehouse.AWAY if seen.warehouse.error else Warehouse.OK,
        flow=_flow(seen),
        witness=_witness(seen),
        frames=_ledger(any(life.missing for life in seen.warehouse.lives)),
        ids=_ledger(bool(seen.warehouse.holes)),
    )


def _ledger(is_open: bool) -> Ledger:
    return Ledger.OPEN if is_open else Ledger.CLOSED


def collector_state(seen: CollectorSeen, at: datetime) -> Collectors:
    """Return the state of one collector."""
    if seen.error:
        return Collectors.AWAY
    if seen.status == "ok":
        return Collectors.OK
    if seen.status == "failing" and seen.open_connections:
        return Collectors.FAILING
    is_young = at < started_at(seen) + timedelta(seconds=START_SECONDS)
    if seen.status == "starting" and is_young:
        return Collectors.STARTING
    return Collectors.DISCONNECTED


def started_at(seen: CollectorSeen) -> datetime:
    """Return when the collector's life began."""
    return datetime.fromtimestamp(seen.epoch // 1_000_000, UTC)


def _broker(seen: Observations) -> Broker:
    if seen.broker.error:
        return Broker.AWAY
    is_behind = any(
        collector.is_dropping or collector.pending_frames >= PENDING_FRAMES
        for collector in seen.collectors
    )
    return Broker.BEHIND if is_behind else Broker.OK


def _witness(seen: Observations) -> Witness:
    if seen.exchange.ahead:
        return Witness.AHEAD
    if seen.exchange.error:
        return Witness.UNKNOWN
    return Witness.EVEN


def _flow(seen: Observations) -> Flow:
    if seen.warehouse.error:
        return Flow.UNKNOWN
    if (seen.broker.oldest_seconds or 0) >= LAG_SECONDS:
        return Flow.STUCK
    waiting = [in_flight(collector, seen.warehouse.lives) for collector in seen.collectors]
    late = seen.at - timedelta(seconds=LAG_SECONDS)
    if any(frames >= IN_FLIGHT_FRAMES and closed_at < late for frames, closed_at in waiting):
        return Flow.STUCK
    newest = max((life.closed_at for life in seen.warehouse.lives), default=None)
    if newest is None:
        newest = max((started_at(collector) for collector in seen.collectors), default=seen.at)
    return Flow.SILENT if newest < seen.at - timedelta(seconds=SILENT_SECONDS) else Flow.MOVING


def in_flight(seen: CollectorSeen, lives: Sequence[LifeSeen]) -> tuple[int, datetime]:
    """Return how many frames are published and not loaded, and the time that loading is at."""
    life = next(
        (each for each in lives if (each.collector, each.epoch) == (seen.collector, seen.epoch)),
        None,
    )
    loaded, closed_at = (life.last_sequence, life.closed_at) if life else (0, started_at(seen))
    return max(0, seen.spooled_frames - seen.pending_frames - loaded), closed_at


def lag_seconds(seen: Observations) -> int:
    """Return how far loading is behind: 0 when all that was published is loaded."""
    waiting = [in_flight(collector, seen.warehouse.lives) for collector in seen.collectors]
    return max(
        (int((seen.at - closed_at).total_seconds()) for frames, closed_at in waiting if frames),
        default=0,
    )


def to_ask(seen: Observations, stale_after_seconds: int) -> list[SymbolSeen]:
    """Return the symbols whose newest trades the exchange should be asked for."""
    if _flow(seen) is Flow.SILENT:
        return busiest(seen.warehouse.symbols)
    return suspects(seen.warehouse.symbols, stale_after_seconds)


def has_traded_on(last_id: int, trades: Sequence[tuple[int, datetime]], at: datetime) -> bool:
    """Tell whether the exchange has long had newer trades than we have.

    A trade may be on its way to us; one that is older than any way takes is not.

    Args:
        last_id: the largest trade id that we have.
        trades: last trade id and time of the exchange's newest aggregate trades, oldest first.
        at: now.
    """
    late = at - timedelta(seconds=LAG_SECONDS)
    is_old = any(trade_id > last_id and traded_at < late for trade_id, traded_at in trades)
    # So many new ones that the oldest new one is not in the answer.
    return is_old or (len(trades) == ASKED_TRADES and trades[0][0] > last_id)


def suspects(symbols: Collection[SymbolSeen], stale_after_seconds: int) -> list[SymbolSeen]:
    """Return symbols silent for longer than is usual for them, the most unusual first.

    Args:
        symbols: the symbols of the last day.
        stale_after_seconds: a shorter silence is never unusual.
    """

    def unusual(symbol: SymbolSeen) -> bool:
        usual = symbol.usual_minutes
        return (
            usual is not None
            and symbol.silent_minutes * 60 > stale_after_seconds
            and symbol.silent_minutes > SILENCE_FACTOR * usual
        )

    found = [symbol for symbol in symbols if unusual(symbol)]
    found.sort(key=lambda symbol: (-symbol.silent_minutes * symbol.heard_minutes, symbol.symbol))
    return found[:WITNESSES]


def busiest(symbols: Collection[SymbolSeen]) -> list[SymbolSeen]:
    """Return the symbols that are heard most: those to ask for when nothing is heard at all."""
    return sorted(symbols, key=lambda symbol: (-symbol.heard_minutes, symbol.symbol))[:WITNESSES]


def dataflow_state(jobs: Sequence[Mapping[str, Any]], at: datetime) -> JobSeen:
    """Return the state of a Dataflow job from all jobs of its name, and whether to start one.

    Args:
        jobs: as Dataflow lists them: id, currentState, currentStateTime, createTime.
        at: now.
    """
    newest = max(jobs, key=lambda job: str(job["createTime"]), default=None)
    if newest is None:
        return JobSeen(state=JobState.DOWN, detail="no job of its name was ever", may_start=True)
    active = [job for job in jobs if job["currentState"] in _ACTIVE]
    if active:
        job = max(active, key=lambda job: _ACTIVE[job["currentState"]] is JobState.RUNNING)
        return JobSeen(state=_ACTIVE[job["currentState"]], detail=_in_words(job))
    if newest["currentState"] in _ENDED_ON_PURPOSE:
        is_recent = at < _time(newest["currentStateTime"]) + ON_PURPOSE
        state = JobState.PAUSED if is_recent else JobState.DOWN
        return JobSeen(state=state, detail=_in_words(newest), may_start=not is_recent)
    may_start = at >= _time(newest["createTime"]) + START_AGAIN
    return JobSeen(state=JobState.DOWN, detail=_in_words(newest), may_start=may_start)


_ACTIVE: Final = {
    "JOB_STATE_RUNNING": JobState.RUNNING,
    "JOB_STATE_PENDING": JobState.STARTING,
    "JOB_STATE_QUEUED": JobState.STARTING,
    "JOB_STATE_DRAINING": JobState.PAUSED,
    "JOB_STATE_CANCELLING": JobState.PAUSED,
    "JOB_STATE_PAUSING": JobState.PAUSED,
    "JOB_STATE_PAUSED": JobState.PAUSED,
    "JOB_STATE_STOPPED": JobState.PAUSED,
    "JOB_STATE_RESOURCE_CLEANING_UP": JobState.PAUSED,
}
_ENDED_ON_PURPOSE: Final = {"JOB_STATE_DRAINED", "JOB_STATE_CANCELLED", "JOB_STATE_UPDATED"}


def _in_words(job: Mapping[str, Any]) -> str:
    state = job["currentState"].removeprefix("JOB_STATE_").lower().replace("_", " ")
    return f"Dataflow job {job['id']} is {state} since {job['currentStateTime']}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
