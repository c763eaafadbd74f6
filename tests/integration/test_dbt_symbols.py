"""The history of symbols over a real BigQuery emulator: entries of exchangeInfo in, spans out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from market_data.tables import SYMBOLS
from tests.integration.test_dbt_models import start_warehouse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEW = "币安人生USDT"


def entry(symbol: str, hours: int, listed: int, status: str = "TRADING") -> dict[str, Any]:
    """Return a row of raw.symbols, from the snapshot `hours` after START."""
    return {
        "market": "spot",
        "symbol": symbol,
        "status": status,
        "base_asset": symbol.removesuffix("USDT"),
        "quote_asset": "USDT",
        "tick_size": Decimal("0.00000001"),
        "step_size": Decimal("0.00001"),
        "min_notional": None,
        "is_spot_allowed": True,
        "permissions": "SPOT",
        "listed_symbols": listed,
        "received_at": START + hours * HOUR,
        "source": "rest",
        "collector": "c1",
        "frame_id": f"c1/1/{hours}",
        "loaded_at": START + hours * HOUR + timedelta(seconds=1),
    }


ROWS = [
    entry("BTCUSDT", 0, 2),
    entry("OLDUSDT", 0, 2),
    entry("BTCUSDT", 1, 2, "HALT"),
    entry(NEW, 2, 3),
    entry("BTCUSDT", 3, 2, "HALT"),
    entry(NEW, 3, 2),
]


def test_history(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    warehouse = start_warehouse(request, tmp_path, "dbt-symbols-test")
    warehouse.load(SYMBOLS, ROWS)
    warehouse.load(SYMBOLS, ROWS)  # every frame came twice
    statuses = warehouse.dbt("build", "--select", "+dim_symbols")
    assert set(statuses.values()) == {"success", "pass"}
    rows = warehouse.rows(
        f"select * from `{warehouse.project}.marts.dim_symbols` order by symbol, valid_from"  # noqa: S608
    )
    assert [
        (row["symbol"], row["status"], *(_hour(row[n]) for n in ("valid_from", "valid_to")))
        for row in rows
    ] == [
        ("BTCUSDT", "TRADING", 0, 1),
        ("BTCUSDT", "HALT", 1, None),
        ("OLDUSDT", "TRADING", 0, 3),
        ("OLDUSDT", "DELISTED", 3, None),
        (NEW, "TRADING", 2, None),
    ]
    assert {row["tick_size"] for row in rows} == {Decimal("0.00000001")}
    assert all(row["is_current"] == (row["valid_to"] is None) for row in rows)
    assert {row["symbol"]: _hour(row["first_seen_at"]) for row in rows} == {
        "BTCUSDT": 0,
        "OLDUSDT": 0,
        NEW: 2,
    }


def _hour(time: datetime | None) -> int | None:
    return None if time is None else (time - START) // HOUR
