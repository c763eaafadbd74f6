"""What a look at the stream sees: plain data between `observe` and `judge`.

A part that can't be asked is an observation too: its `error` says why, and the rest is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class JobState(StrEnum):
    """What the job is doing."""

    UNWATCHED = "unwatched"
    RUNNING = "running"
    STARTING = "starting"
    PAUSED = "paused"
    DOWN = "down"


@dataclass(frozen=True, kw_only=True)
class CollectorSeen:
    """A collector's /healthz and /metrics.

    Attributes:
        url: base address.
        error: why it could not be asked.
        status: what it says of itself: ok, starting or failing.
        collector: its id.
        epoch: start of its life, in microseconds since 1970.
        is_dropping: messages are dropped because the spool is full or the disk is behind.
        spooled_frames: frames of this life made durable, which is the last sequence's number.
        pending_frames: frames that Pub/Sub has not acknowledged yet.
        open_connections: connections open now.
        connections: connections that should be open.
        last_end: how a connection that isn't open ended.
    """

    url: str
    error: str = ""
    status: str = ""
    collector: str = ""
    epoch: int = 0
    is_dropping: bool = False
    spooled_frames: int = 0
    pending_frames: int = 0
    open_connections: int = 0
    connections: int = 0
    last_end: str = ""


@dataclass(frozen=True, kw_only=True)
class BrokerSeen:
    """The job's subscription.

    Attributes:
        error: why it could not be asked; also that it does not exist.
        backlog: messages that nobody acknowledged; None where nobody counts them.
        oldest_seconds: age of the oldest of them; None where nobody measures it.
    """

    error: str = ""
    backlog: int | None = None
    oldest_seconds: int | None = None


@dataclass(frozen=True, kw_only=True)
class JobSeen:
    """The Beam job.

    Attributes:
        state: what it is doing.
        detail: the same in its own words.
        may_start: it should run, does not, and nobody stopped it on purpose: start it.
    """

    state: JobState = JobState.UNWATCHED
    detail: str = "nobody told where it runs"
    may_start: bool = False


@dataclass(frozen=True, kw_only=True)
class LifeSeen:
    """What ops.frames holds of one life of a collector.

    Attributes:
        collector: its id.
        epoch: start of the life, in microseconds since 1970.
        last_sequence: largest sequence loaded.
        missing: sequences that are missing although later ones have long been loaded.
        closed_at: when the newest frame's last line was received.
    """

    collector: str
    epoch: int
    last_sequence: int
    missing: int
    closed_at: datetime


@dataclass(frozen=True, kw_only=True)
class SymbolSeen:
    """How long a symbol has been silent, counted in minutes in which the market was heard.

    Minutes in which nothing arrived at all count for no symbol: an outage of ours, or of the
    exchange, makes no symbol stale.

    Attributes:
        symbol: as Binance spells it.
        last_id: largest trade id loaded.
        silent_minutes: minutes since its last arrival.
        usual_minutes: its longest silence of the day before that; None when it was heard once.
        heard_minutes: minutes in which it was heard.
    """

    symbol: str
    last_id: int
    silent_minutes: int
    usual_minutes: int | None
    heard_minutes: int


@dataclass(frozen=True, kw_only=True)
class HoleSeen:
    """A run of missing trade ids.

    Attributes:
        symbol: as Binance spells it.
        first_id: smallest missing id.
        last_id: largest missing id.
        missing: number of missing ids.
        before: when the trade before the hole was traded.
        after: when the trade after it was traded.
    """

    symbol: str
    first_id: int
    last_id: int
    missing: int
    before: datetime
    after: datetime


@dataclass(frozen=True, kw_only=True)
class WarehouseSeen:
    """BigQuery: the ledger of frames, the symbols' arrivals, the marts' holes.

    Attributes:
        error: why it could not be asked.
        lives: collectors' lives of the last day.
        symbols: symbols of the last day.
        holes: open holes, largest first.
    """

    error: str = ""
    lives: tuple[LifeSeen, ...] = ()
    symbols: tuple[SymbolSeen, ...] = ()
    holes: tuple[HoleSeen, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExchangeSeen:
    """Binance's REST interface, the second witness.

    Attributes:
        error: why it could not be asked.
        asked: symbols whose newest trades were asked for.
        ahead: those of them that have long traded on without us.
    """

    error: str = ""
    asked: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Everything that one look sees."""

    at: datetime
    exchange: ExchangeSeen
    collectors: tuple[CollectorSeen, ...]
    broker: BrokerSeen
    job: JobSeen
    warehouse: WarehouseSeen
