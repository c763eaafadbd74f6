"""A stream that is well, to be broken one thing at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any

from plugins.market_ops.stream.observations import (
    BrokerSeen,
    CollectorSeen,
    ExchangeSeen,
    JobSeen,
    JobState,
    LifeSeen,
    Observations,
    SymbolSeen,
    WarehouseSeen,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EPOCH = int(NOW.timestamp() - 86_400) * 1_000_000


def collector(**changes: Any) -> CollectorSeen:
    well: dict[str, Any] = {
        "url": "http://collector",
        "status": "ok",
        "collector": "c1",
        "epoch": EPOCH,
        "spooled_frames": 1_000,
        "pending_frames": 2,
        "open_connections": 3,
        "connections": 3,
    }
    return CollectorSeen(**well | changes)


def life(**changes: Any) -> LifeSeen:
    well: dict[str, Any] = {
        "collector": "c1",
        "epoch": EPOCH,
        "last_sequence": 995,
        "missing": 0,
        "closed_at": NOW - timedelta(seconds=2),
    }
    return LifeSeen(**well | changes)


def symbol(**changes: Any) -> SymbolSeen:
    well: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "last_id": 100,
        "silent_minutes": 0,
        "usual_minutes": 1,
        "heard_minutes": 1_400,
    }
    return SymbolSeen(**well | changes)


def warehouse(**changes: Any) -> WarehouseSeen:
    well: dict[str, Any] = {"lives": (life(),), "symbols": (symbol(),)}
    return WarehouseSeen(**well | changes)


def observations(**changes: Any) -> Observations:
    well: dict[str, Any] = {
        "at": NOW,
        "exchange": ExchangeSeen(),
        "collectors": (collector(),),
        "broker": BrokerSeen(),
        "job": JobSeen(state=JobState.RUNNING, detail="http://job says running"),
        "warehouse": warehouse(),
    }
    return Observations(**well | changes)
