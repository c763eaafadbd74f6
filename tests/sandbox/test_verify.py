from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sandbox.certificate.candles import FIELDS
from sandbox.verify import by_key, differences


def candle(minute: int, **changes: Any) -> dict[str, Any]:
    opened_at = datetime(2026, 2, 2, 2, minute, tzinfo=UTC)
    return {"symbol": "A", "opened_at": opened_at, **dict.fromkeys(FIELDS, Decimal(1)), **changes}


def test_equal_candles_differ_in_nothing() -> None:
    assert differences(by_key([candle(0), candle(1)]), by_key([candle(1), candle(2)])) == []


def test_every_difference_is_a_sentence() -> None:
    theirs = by_key([candle(1, trades=2, low=Decimal("0.5")), candle(0)])
    assert differences(by_key([candle(0), candle(1)]), theirs) == [
        "A 2026-02-02 02:01 low: archive 1, mart 0.5",
        "A 2026-02-02 02:01 trades: archive 1, mart 2",
    ]
