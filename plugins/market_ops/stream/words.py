"""Words: what was seen and what to do, for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from .decisions import Cause, Collectors, Stage
from .observations import CollectorSeen, Observations
from .signals import collector_state, in_flight, lag_seconds

REMEDIES: Final[Mapping[Cause, str]] = {
    Cause.EXCHANGE_AWAY: (
        "look at Binance's status page; the collector connects again by itself, and holes are"
        " repaired once REST answers"
    ),
    Cause.EXCHANGE_SILENT: (
        "look at Binance's announcements for maintenance; nothing is lost while the exchange has"
        " no newer trades"
    ),
    Cause.COLLECTOR_AWAY: (
        "start the collector again with the same spool folder; its log says why it ended (exit"
        " code 2 is a wrong setting)"
    ),
    Cause.COLLECTOR_DISCONNECTED: (
        "look into the collector's log for the reason: a ban (418), a proxy, the websocket address"
    ),
    Cause.COLLECTOR_FAILING: "the spool can't be written: free disk space on the collector's disk",
    Cause.COLLECTOR_DEAF: (
        "start the collector again: its connections are open and deliver nothing; then let"
        " repair_gaps fill the hole"
    ),
    Cause.SYMBOLS_STALE: (
        "start the collector again so that it subscribes anew; was the symbol listed after its"
        " start?"
    ),
    Cause.BROKER_AWAY: (
        "check that the subscription exists and that the service account may read it; frames wait"
        " in the collector's spool"
    ),
    Cause.BROKER_BEHIND: (
        "look at collector_failed_publishes_total and the collector's log: topic, right, quota or"
        " a slow disk"
    ),
    Cause.JOB_DOWN: (
        "look into the job's log, start it again; it resumes from the ledger, and Pub/Sub keeps"
        " the frames for its retention"
    ),
    Cause.JOB_BEHIND: (
        "look into the job's log and at its rate; more workers on Dataflow, fewer symbols on one"
        " machine"
    ),
    Cause.FRAMES_MISSING: (
        "restart the job with a longer --resume_seconds while Pub/Sub still keeps the frames, else"
        " run replay_archive for the time"
    ),
    Cause.WAREHOUSE_AWAY: (
        "check BigQuery's status and the connection google_cloud_default; the job repeats its"
        " writes, frames wait in Pub/Sub"
    ),
    Cause.IDS_MISSING: "let repair_gaps run, or start it by hand for the range",
}


def sentence_of(cause: Cause, seen: Observations) -> str:
    """Say what was seen of a cause, in one sentence."""
    match cause:
        case Cause.WAREHOUSE_AWAY:
            return f"BigQuery can't be asked: {seen.warehouse.error}"
        case (
            Cause.COLLECTOR_AWAY
            | Cause.COLLECTOR_FAILING
            | Cause.COLLECTOR_DISCONNECTED
            | Cause.EXCHANGE_AWAY
        ):
            ill = [
                in_words(collector)
                for collector in seen.collectors
                if collector_state(collector, seen.at) not in _WELL
            ]
            if cause is Cause.EXCHANGE_AWAY:
                ill.append(f"REST is away too: {seen.exchange.error}")
            return "; ".join(ill)
        case Cause.BROKER_AWAY:
            return f"the subscription can't be asked: {seen.broker.error}"
        case Cause.BROKER_BEHIND:
            pending = sum(collector.pending_frames for collector in seen.collectors)
            return f"{_count(pending, 'frame')} waiting for Pub/Sub's acknowledgement"
        case Cause.JOB_DOWN:
            return f"the job is not running: {seen.job.detail}"
        case Cause.JOB_BEHIND:
            waiting = sum(in_flight(each, seen.warehouse.lives)[0] for each in seen.collectors)
            lag = max(lag_seconds(seen), seen.broker.oldest_seconds or 0)
            return f"the job runs and is {lag:,} s behind; {_count(waiting, 'frame')} waiting"
        case Cause.EXCHANGE_SILENT:
            return f"all is well on our side and nothing comes: {_newest(seen)}"
        case Cause.COLLECTOR_DEAF:
            symbols = _listed(seen.exchange.ahead)
            return f"connections are open and nothing comes: {_newest(seen)}; {symbols} trade on"
        case Cause.SYMBOLS_STALE:
            return f"the exchange has trades that never came: {_listed(seen.exchange.ahead)}"
        case Cause.FRAMES_MISSING:
            gaps = [
                f"{life.missing:,} of {life.collector}/{life.epoch}"
                for life in seen.warehouse.lives
                if life.missing
            ]
            return f"frames were published, later ones are loaded, they are not: {_listed(gaps)}"
        case Cause.IDS_MISSING:
            holes = seen.warehouse.holes
            ids = [
                f"{hole.symbol} {hole.first_id} to {hole.last_id} ({hole.before:%Y-%m-%d %H:%MZ})"
                for hole in holes
            ]
            missing = sum(hole.missing for hole in holes)
            counts = f"{_count(missing, 'trade id')} missing in {_count(len(holes), 'hole')}"
            return f"{counts}: {_listed(ids)}"


_WELL: Final = {Collectors.OK, Collectors.STARTING}
_LISTED: Final = 5


def _listed(items: Sequence[str]) -> str:
    rest = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {rest:,} more" if rest > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _newest(seen: Observations) -> str:
    newest = max((life.closed_at for life in seen.warehouse.lives), default=None)
    return f"the newest frame is of {newest:%H:%M:%SZ}" if newest else "no frame was ever loaded"


def in_words(seen: CollectorSeen) -> str:
    """Say how a collector is."""
    if seen.error:
        return f"{seen.url} does not answer: {seen.error}"
    ending = f", the last ended with: {seen.last_end}" if seen.last_end else ""
    return (
        f"{seen.url} is {seen.status}: {seen.open_connections} of"
        f" {_count(seen.connections, 'connection')} open,"
        f" {_count(seen.pending_frames, 'frame')} waiting{ending}"
    )


def summary(seen: Observations) -> dict[Stage, str]:
    """Say in one line a stage what was seen of it, well or not."""
    warehouse = seen.warehouse
    asked = f"; asked for {_listed(seen.exchange.asked)}" if seen.exchange.asked else ""
    backlog = (
        "" if seen.broker.backlog is None else f"; {_count(seen.broker.backlog, 'message')} waiting"
    )
    waiting = sum(in_flight(each, warehouse.lives)[0] for each in seen.collectors)
    return {
        Stage.EXCHANGE: (seen.exchange.error or "REST answers") + asked,
        Stage.COLLECTOR: "; ".join(map(in_words, seen.collectors)) or "no collector is watched",
        Stage.BROKER: (seen.broker.error or "the subscription is there") + backlog,
        Stage.JOB: seen.job.detail
        + (
            ""
            if warehouse.error
            else f"; {_count(waiting, 'frame')} on the way, {lag_seconds(seen):,} s behind"
        ),
        Stage.WAREHOUSE: warehouse.error
        or f"{_count(len(warehouse.symbols), 'symbol')} heard in a day; {_newest(seen)}",
        Stage.HOLES: "unknown"
        if warehouse.error
        else f"{_count(sum(hole.missing for hole in warehouse.holes), 'trade id')} missing",
    }
