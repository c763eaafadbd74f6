"""Dirty windows: whatever order trades arrive in, incremental runs end at what one full build says.

A made-up market arrives in five batches, shuffled with a seed: late trades, copies, frames that are
delivered again, holes that heal, ids that were never published, a symbol that falls silent,
midnight; klines in any order, some revised, some wrong. `dbt run` follows each batch. Another
project gets everything at once and is built once. All tables are compared.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest

from market_data.tables import AGG_TRADES, FRAMES, KLINES, TRADES, Table
from tests.integration.conftest import new_project
from tests.integration.test_dbt_models import (
    DBT,
    FIELDS,
    INTERVALS,
    Row,
    Warehouse,
    frame,
    kline,
    made_up_trade,
    python_candles,
    start_warehouse,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SEED = 7
DAY = timedelta(days=1).total_seconds()
# Without these: loads are told apart by the time of the load, and no symbol's entry arrives.
NOT_COMPARED = {
    *("int_trade_loads", "int_agg_trade_loads", "int_kline_loads"),
    *("int_symbol_states", "dim_symbols"),
    # Views of the ledger, in which a frame that came in parts here has a row for each part.
    *("int_frame_stages", "stage_equality"),
}
MODELS = sorted(
    f"{path.parent.name}.{path.stem}"
    for layer in ("intermediate", "marts")
    for path in (DBT / "models" / layer).glob("*.sql")
    if path.stem not in NOT_COMPARED
)
BUILT = ("built_at",)  # when a row was built is what incremental runs differ in
KLINE_INTERVALS = {1: "1m", 5: "5m", 15: "15m", 60: "1h", 240: "4h", 1440: "1d"}
Batch = dict[Table, list[Row]]


def trade(symbol: str, trade_id: int, after: float, frame: str) -> Row:
    """Return a trade of a symbol whose price tells its id, received a moment later."""
    price = str(Decimal(100 + trade_id % 17) / 8)
    return made_up_trade(symbol, trade_id, after, price, "0.123", frame_id=frame)


def trades_by_batch(chance: random.Random) -> list[list[Row]]:
    """Return the trades that arrive, by batch: each in its frame, in random order."""
    busy = [trade("BUSYUSDT", 1 + i, 13.0 * i, f"busy-{i // 40}") for i in range(400)]
    later = [trade("BUSYUSDT", 401 + i, 5200 + 9.0 * i, f"later-{i // 40}") for i in range(60)]
    # silent for two days between consecutive ids; the market is two days further then
    quiet = [trade("QUIETUSDT", 10 + i, 40.0 * i, "quiet") for i in range(3)]
    again = [trade("QUIETUSDT", 13 + i, 2 * DAY + 30.0 * i, "again") for i in range(3)]
    much_later = [trade("BUSYUSDT", 470 + i, 2 * DAY + 20.0 * i, "days") for i in range(30)]
    # silent, then the next id is missing: the empty minutes were none; the hole heals at last
    gone = [trade("GONEUSDT", 5, 100, "gone-1"), trade("GONEUSDT", 9, 4000, "gone-2")]
    back = [trade("GONEUSDT", 6 + i, 700 + 900.0 * i, "gone-rest") for i in range(3)]
    # 3 and 4 were never published; aggregates say the same of 7 and 8, which come after all
    unpublished = [trade("UMUSDT", i, 100.0 * i, "um") for i in (1, 2, 5, 6, 9)]
    published = [trade("UMUSDT", i, 100.0 * i, "um-rest") for i in (7, 8)]
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
        early[:200] + quiet + gone[:1] + unpublished,
        early[200:] + gone[1:],
        late + copies + lost[:5] + later[:30],
        lost[5:] + redelivered + later[30:] + back,
        again + much_later + published,
    ]
    for rows in found:
        chance.shuffle(rows)
    return found


def klines_of(trades: Iterable[Row], chance: random.Random) -> Iterator[Row]:
    """Yield the exchange's closed klines: some wrong, some that book a volume one candle later."""
    for minutes, interval in KLINE_INTERVALS.items():
        owed = Decimal(0)
        for (symbol, opened_at), candle in sorted(python_candles(trades, minutes).items()):
            fields = dict(candle)
            fields["volume"], owed = fields["volume"] + owed, Decimal(0)
            if chance.random() < 0.05:
                owed = Decimal(1)
                fields["volume"] -= owed
            if chance.random() < 0.02:
                fields["high"] += 1
            official = kline(symbol, interval, opened_at, *(fields[name] for name in FIELDS))
            yield official | {name: fields[name] for name in ("first_trade_id", "last_trade_id")}


def aggregates() -> list[Row]:
    """Return aggregate trades of UMUSDT, ids 1 to 4: (first, last) trade id of each."""
    return [
        {
            name: value
            for name, value in trade("UMUSDT", last, 100.0 * last, f"agg-{last}").items()
            if name not in ("trade_id", "quote_quantity")
        }
        | {"agg_trade_id": 1 + n, "first_trade_id": first, "last_trade_id": last}
        for n, (first, last) in enumerate([(1, 2), (5, 5), (6, 6), (9, 9)])
    ]


def batches() -> list[Batch]:
    """Return what arrives, by batch and table."""
    chance = random.Random(SEED)
    found: list[Batch] = [{TRADES: rows} for rows in trades_by_batch(chance)]
    for number, batch in enumerate(found):
        frames: dict[str, list[Row]] = defaultdict(list)
        for row in batch[TRADES]:
            frames[row["frame_id"]].append(row)
        hours = timedelta(hours=number)
        entries = [frame(frame_id, rows) for frame_id, rows in frames.items()]
        batch[FRAMES] = [entry | {"loaded_at": entry["loaded_at"] + hours} for entry in entries]
        batch[AGG_TRADES] = aggregates()[:1] if number == 0 else []
        batch[KLINES] = []
    found[2][AGG_TRADES] = aggregates()[1:]
    published = [trade("UMUSDT", i, 100.0 * i, "never") for i in (3, 4)]
    every = [row for batch in found for row in batch[TRADES]] + published
    for official in klines_of(every, chance):
        number = chance.randrange(len(found))
        row = official | {"frame_id": f"klines-{number}"}
        found[number][KLINES].append(row)
        if number and chance.random() < 0.1:
            early = {
                "event_at": row["event_at"] - timedelta(seconds=1),
                "trades": row["trades"] + 1,
            }
            before = chance.randrange(number)
            found[before][KLINES].append(row | early | {"frame_id": f"klines-{before}"})
    return found


@dataclass(frozen=True)
class Ends:
    """The warehouses that the two ways ended with."""

    incremental: Warehouse
    full: Warehouse


def contents(warehouse: Warehouse, model: str, leave_out: Sequence[str] = ()) -> list[str]:
    rows = warehouse.rows(f"select * from `{warehouse.project}.{model}`")  # noqa: S608
    return sorted(
        str({name: value for name, value in row.items() if name not in leave_out}) for row in rows
    )


@pytest.fixture(scope="module")
def ends(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ends:
    arrived = batches()
    incremental = start_warehouse(request, tmp_path_factory.mktemp("step"), new_project())
    for number, batch in enumerate(arrived, start=1):
        for table, rows in batch.items():
            incremental.load(table, rows)
        incremental.dbt("run")
        so_far = itertools.chain.from_iterable(batch[TRADES] for batch in arrived[:number])
        assert incremental.candles("ohlcv_1m") == python_candles(so_far, 1)
    full = start_warehouse(request, tmp_path_factory.mktemp("full"), new_project())
    for table in arrived[0]:
        full.load(table, itertools.chain.from_iterable(batch[table] for batch in arrived))
    full.dbt("run")
    return Ends(incremental, full)


@pytest.mark.parametrize("model", MODELS)
def test_incremental_equals_full(ends: Ends, model: str) -> None:
    found = contents(ends.incremental, model, BUILT)
    assert found
    assert found == contents(ends.full, model, BUILT)


@pytest.mark.parametrize("interval", INTERVALS)
def test_only_dirty_windows_are_rebuilt(ends: Ends, interval: str) -> None:
    """The last batch is two days later: it touches no candle that BUSYUSDT had before midnight."""
    (row,) = ends.incremental.rows(
        "select max(built_at) as last_run, max(if(symbol = 'BUSYUSDT' "  # noqa: S608
        "and opened_at < '2024-08-09 00:00:00 UTC', built_at, null)) as before_midnight "
        f"from `{ends.incremental.project}.marts.{interval}`"
    )
    assert row["before_midnight"] < row["last_run"]


def test_every_class_of_difference_was_there(ends: Ends) -> None:
    """The comparison of kline_reconciliation says little if its rows are all alike."""
    classes = ends.full.rows(
        "select distinct difference_class from "  # noqa: S608
        f"`{ends.full.project}.marts.kline_reconciliation`"
    )
    assert {row["difference_class"] for row in classes} == {
        *("boundary", "exchange revised", "ours", "missing trades", "excluded from stream"),
        None,
    }


def test_a_run_without_news_changes_nothing(ends: Ends) -> None:
    before = {model: contents(ends.incremental, model) for model in MODELS}
    ends.incremental.dbt("run")
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


def test_a_run_stops_before_what_another_run_built_meanwhile(ends: Ends) -> None:
    warehouse = ends.incremental
    arguments = (
        "{name: ohlcv_1m, last_built_at: 2026-01-01 00:00:01,"
        ' sql: "where built_at > timestamp_micros(1767225600000000)"}'
    )
    with pytest.raises(AssertionError, match="ohlcv_1m: another dbt run built it"):
        warehouse.dbt("run-operation", "stop_if_overtaken", "--args", arguments)


def test_a_run_stops_before_what_a_later_run_built(ends: Ends) -> None:
    """Last, because no run can follow: a build is planted that is years ahead."""
    warehouse = ends.incremental
    warehouse.rows(
        f"insert into `{warehouse.project}.ops.model_builds` (model, market, built_at) "  # noqa: S608
        "values ('ohlcv_1m', 'spot', timestamp '2100-01-01 00:00:00 UTC')"
    )
    with pytest.raises(AssertionError, match="ohlcv_1m: another dbt run built it"):
        warehouse.dbt("run", "--select", "ohlcv_1m")
