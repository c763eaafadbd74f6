"""Dirty windows: whatever order trades arrive in, incremental runs end at what one full build says.

Trades of a made-up market arrive in five batches, shuffled with a seed: late ones, copies, frames
that are delivered again, holes that heal, a symbol that falls silent, midnight. `dbt run` follows
each batch. Another project gets everything at once and is built once.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.integration.conftest import new_project
from tests.integration.test_dbt_models import (
    INTERVALS,
    Row,
    Warehouse,
    made_up_trade,
    python_candles,
    start_warehouse,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

SEED = 7
DAY = timedelta(days=1).total_seconds()
MODELS = (
    "intermediate.int_trades_deduplicated",
    "intermediate.int_id_islands",
    *(f"marts.{interval}" for interval in INTERVALS),
)
# When a row was built is what incremental runs differ in.
NOT_COMPARED = ("built_at",)


def trade(symbol: str, trade_id: int, after: float, frame: str) -> Row:
    """Return a trade of a symbol whose price tells its id, received a moment later."""
    price = str(Decimal(100 + trade_id % 17) / 8)
    return made_up_trade(symbol, trade_id, after, price, "0.123", frame_id=frame)


def batches() -> list[list[Row]]:
    """Return what arrives, by batch: each row in its frame, rows in random order."""
    chance = random.Random(SEED)
    busy = [trade("BUSYUSDT", 1 + i, 13.0 * i, f"busy-{i // 40}") for i in range(400)]
    later = [trade("BUSYUSDT", 401 + i, 5200 + 9.0 * i, f"later-{i // 40}") for i in range(60)]
    # silent for two days between consecutive ids; the market is two days further then
    quiet = [trade("QUIETUSDT", 10 + i, 40.0 * i, "quiet") for i in range(3)]
    again = [trade("QUIETUSDT", 13 + i, 2 * DAY + 30.0 * i, "again") for i in range(3)]
    much_later = [trade("BUSYUSDT", 470 + i, 2 * DAY + 20.0 * i, "days") for i in range(30)]
    # silent, then the next id is missing: the empty minutes were none; the hole heals at last
    gone = [trade("GONEUSDT", 5, 100, "gone-1"), trade("GONEUSDT", 9, 4000, "gone-2")]
    back = [
        trade(
            "GONEUSDT",
            6 + i,
            700 + 900.0 * i,
            "gone-rest",
        )
        for i in range(3)
    ]
    missing = {17, 18, 19, 120, 121, 205, 206, 207, 390}
    present = [row for row in busy if row["trade_id"] not in missing]
    lost = [row | {"source": "rest"} for row in busy if row["trade_id"] in missing]
    late = chance.sample(present, 40)
    early = [row for row in present if row not in late]
    copies = [
        row | {"received_at": row["received_at"] + timedelta(seconds=chance.randint(-1, 3))}
        for row in chance.sample(early, 50)
    ]
    redelivered = [row for row in early if row["frame_id"] == "busy-3"]
    found = [
        early[:200] + quiet + gone[:1],
        early[200:] + gone[1:],
        late + copies + lost[:5] + later[:30],
        lost[5:] + redelivered + later[30:] + back,
        again + much_later,
    ]
    for rows in found:
        chance.shuffle(rows)
    return found


@dataclass(frozen=True)
class Ends:
    """The warehouses that the two ways ended with."""

    incremental: Warehouse
    full: Warehouse


def contents(warehouse: Warehouse, model: str, leave_out: Sequence[str] = ()) -> list[Any]:
    rows = warehouse.rows(f"select * from `{warehouse.project}.{model}`")  # noqa: S608
    return sorted(
        tuple((name, value) for name, value in row.items() if name not in leave_out) for row in rows
    )


@pytest.fixture(scope="module")
def ends(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ends:
    arrived = batches()
    incremental = start_warehouse(request, tmp_path_factory.mktemp("step"), new_project())
    for number, rows in enumerate(arrived, start=1):
        incremental.load_trades(rows)
        incremental.dbt("run", "--select", "+ohlcv_1d")
        so_far = itertools.chain.from_iterable(arrived[:number])
        assert incremental.candles("ohlcv_1m") == python_candles(so_far, 1)
    full = start_warehouse(request, tmp_path_factory.mktemp("full"), new_project())
    full.load_trades(itertools.chain.from_iterable(arrived))
    full.dbt("run", "--select", "+ohlcv_1d")
    return Ends(incremental, full)


@pytest.mark.parametrize("model", MODELS)
def test_incremental_equals_full(ends: Ends, model: str) -> None:
    found = contents(ends.incremental, model, NOT_COMPARED)
    assert found
    assert found == contents(ends.full, model, NOT_COMPARED)


@pytest.mark.parametrize("interval", INTERVALS)
def test_only_dirty_windows_are_rebuilt(ends: Ends, interval: str) -> None:
    """The last batch is two days later: it touches no candle that BUSYUSDT had before midnight."""
    (row,) = ends.incremental.rows(
        "select max(built_at) as last_run, max(if(symbol = 'BUSYUSDT' "  # noqa: S608
        "and opened_at < '2024-08-09 00:00:00 UTC', built_at, null)) as before_midnight "
        f"from `{ends.incremental.project}.marts.{interval}`"
    )
    assert row["before_midnight"] < row["last_run"]


def test_a_run_without_news_changes_nothing(ends: Ends) -> None:
    before = {model: contents(ends.incremental, model) for model in MODELS}
    ends.incremental.dbt("run", "--select", "+ohlcv_1d")
    assert {model: contents(ends.incremental, model) for model in MODELS} == before


def test_data_tests_hold_after_incremental_runs(ends: Ends) -> None:
    statuses = ends.incremental.dbt(
        *("test", "--exclude-resource-type", "unit_test", "--indirect-selection", "cautious"),
        *("--select", "+ohlcv_1d"),
    )
    assert "ohlcv_1d_rebuilt_from_4h" in statuses
    assert [name for name, status in statuses.items() if status == "warn"] == [
        "stg_frame_symbols_are_loaded_once"  # as it should: a frame was delivered again
    ]
