import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from plugins.market_ops.archive.compact import Hour, compact_hour, hours_received, manifest_of
from plugins.market_ops.archive.storage import FolderStore, ReplacedMeanwhile
from plugins.market_ops.archive.upkeep import (
    GRACE,
    REPLACED_AFTER,
    Removed,
    figures,
    forget_failure,
    hours_to_compact,
    in_turn,
    note_failure,
    parse_hour,
    remove_old,
    waiting,
)
from tests.plugins.samples import HOUR, HOUR_MS, Trade, line, put

LATER = HOUR.at(HOUR_MS // 3_600_000 + 1)
END = HOUR.start + timedelta(hours=1)
DAY = timedelta(days=1)
AFTER = datetime.now(UTC) + 8 * DAY  # files are as old as the clock says


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def trade(number: int, ms: int = 5, symbol: str = "BTCUSDT") -> Trade:
    return symbol, number, "2.5", "0.2", ms, True


def starts(hours: list[Hour]) -> list[datetime]:
    return [hour.start for hour in hours]


def test_an_hour_is_closed_some_minutes_after_its_end(store: FolderStore) -> None:
    put(store, "a", [line(trade(1))])
    assert hours_to_compact(store, "spot", END + GRACE - timedelta(seconds=1)) == []
    assert starts(hours_to_compact(store, "spot", END + GRACE)) == [HOUR.start]
    assert hours_to_compact(store, "futures", END + GRACE) == []


def test_only_hours_with_work_oldest_first(store: FolderStore) -> None:
    put(store, "b", [line(trade(2))], hour=LATER)
    put(store, "a", [line(trade(1))])
    assert starts(hours_to_compact(store, "spot", AFTER)) == [HOUR.start, LATER.start]
    compact_hour(store, HOUR)
    assert starts(hours_to_compact(store, "spot", AFTER)) == [LATER.start]
    name = put(store, "late", [line(trade(3))])
    assert starts(hours_to_compact(store, "spot", AFTER)) == [HOUR.start, LATER.start]
    assert waiting(store, HOUR) == [name]
    for first, last, expected in (
        (LATER.start, None, [LATER.start]),
        (None, HOUR.start, [HOUR.start]),
        (LATER.start, HOUR.start, []),
    ):
        found = hours_to_compact(store, "spot", AFTER, first=first, last=last)
        assert starts(found) == expected


def test_hours_that_failed_keep_no_other_waiting(store: FolderStore, tmp_path: Path) -> None:
    hours = [HOUR.at(HOUR_MS // 3_600_000 + n) for n in range(30)]
    for hour in hours:
        put(store, "a", [line(trade(1))], hour=hour)
    for number, hour in enumerate([*hours[13:26], *hours[:13]]):
        note_failure(store, hour, ValueError("corrupt"))
        at = 1_800_000_000 + number
        os.utime(tmp_path / hour.failure, (at, at))
    waits = hours_to_compact(store, "spot", AFTER + 2 * DAY)
    assert in_turn(store, waits) == [*hours[26:], *hours[13:26], *hours[:13]]
    # its turn was useless again
    note_failure(store, hours[13], ValueError("corrupt"))
    os.utime(tmp_path / hours[13].failure, (2e9, 2e9))
    assert in_turn(store, waits)[4] == hours[14]
    forget_failure(store, hours[13])
    forget_failure(store, hours[13])
    assert in_turn(store, waits)[0] == hours[13]


def test_hours_are_read_from_text() -> None:
    assert parse_hour("2026-02-02T02", "first_hour") == HOUR.start
    with pytest.raises(ValueError, match="first_hour: expected an hour in UTC as 2026-03-01T17"):
        parse_hour("2026-02-02", "first_hour")


def test_figures_say_what_an_hour_became(store: FolderStore) -> None:
    name = put(store, "a", [line(trade(1)), line(trade(1)), line(trade(2)), b"{"])
    compact_hour(store, HOUR)
    (entry,) = manifest_of(store, HOUR)["objects"]
    assert figures(store, HOUR) == {
        "hour": "2026-02-02T02",
        "raw_objects": 1,
        "unproven": 1,
        "lines": 4,
        "bytes_before": len(store.read(name)),
        "trades": 2,
        "bytes_after": entry["bytes"],
    }


def test_raw_objects_go_when_proven_and_old(store: FolderStore) -> None:
    put(store, "a", [line(trade(1))])
    unproven = put(store, "b", [line(trade(2)), b"{"])
    assert remove_old(store, "spot", AFTER, DAY) == Removed(0, 0, [])  # not compacted
    compact_hour(store, HOUR)
    kept = len(store.names("raw/"))
    assert remove_old(store, "spot", datetime.now(UTC), DAY) == Removed(0, 0, [])
    assert len(store.names("raw/")) == kept
    assert remove_old(store, "spot", AFTER, DAY) == Removed(1, 0, [unproven])
    assert store.names("raw/") == [unproven.replace(".ndjson.zst", ".manifest.json"), unproven]
    assert manifest_of(store, HOUR)["trades"] == 2


def test_changed_bytes_keep_a_raw_object(store: FolderStore) -> None:
    name = put(store, "a", [line(trade(1))])
    compact_hour(store, HOUR)
    store.write(name, b"other")
    assert remove_old(store, "spot", AFTER, DAY) == Removed(0, 0, [name])


def test_replaced_parquet_goes_after_a_day(store: FolderStore) -> None:
    put(store, "a", [line(trade(1))])
    compact_hour(store, HOUR)
    put(store, "b", [line(trade(2))])
    compact_hour(store, HOUR)
    soon = datetime.now(UTC) + REPLACED_AFTER - timedelta(minutes=1)
    assert remove_old(store, "spot", soon, 7 * DAY) == Removed(0, 0, [])
    assert remove_old(store, "spot", soon + timedelta(hours=1), 7 * DAY) == Removed(0, 1, [])
    assert manifest_of(store, HOUR)["trades"] == 2
    (found,) = [name for name in store.names("compact/") if name.endswith(".parquet")]
    assert found == manifest_of(store, HOUR)["objects"][0]["object"]


def test_two_runs_at_once_lose_nothing(store: FolderStore) -> None:
    """The second one replaces the manifest while the first is at work: the first gives up."""
    put(store, "a", [line(trade(1))])

    class Overtaken(FolderStore):
        def replace(self, name: str, old: bytes | None, data: bytes) -> None:
            if not store.names("compact/receipts/"):
                put(store, "late", [line(trade(2))])
                compact_hour(store, HOUR)
            super().replace(name, old, data)

    with pytest.raises(ReplacedMeanwhile, match=r"manifest\.json: another compaction wrote it"):
        compact_hour(Overtaken(store._root), HOUR)
    compact_hour(store, HOUR)
    assert manifest_of(store, HOUR)["trades"] == 2


# Killed at any operation


class Killed(BaseException):
    """The process ends here."""


class DyingStore:
    """A store whose process is killed before its operation of some number."""

    def __init__(self, store: FolderStore, operations: int) -> None:
        self._store = store
        self.left = operations

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def operation(*arguments: Any) -> Any:
            if self.left == 0:
                raise Killed
            self.left -= 1
            return getattr(self._store, name)(*arguments)

        return operation


def two_hours(store: FolderStore) -> None:
    """Two hours of arrival; the second has what the first one should have had, and its own."""
    put(store, "a", [line(trade(1)), line(trade(2))])
    put(store, "b", [line(trade(2)), line(trade(3)), line(trade(4, 3_600_000))], hour=LATER)


def whole_run(store: Any) -> None:
    """Do what the DAG does; raw objects are old at once."""
    for hour in hours_to_compact(store, "spot", AFTER):
        compact_hour(store, hour)
    remove_old(store, "spot", AFTER, DAY)


def compacted(store: FolderStore) -> list[tuple[Any, ...]]:
    """Return the trades of every manifest."""
    entries = [entry for hour in (HOUR, LATER) for entry in manifest_of(store, hour)["objects"]]
    tables = [pq.read_table(store._root / entry["object"], partitioning=None) for entry in entries]
    return sorted(tuple(row.values()) for table in tables for row in table.to_pylist())


OPERATIONS = 57


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    store = FolderStore(tmp_path_factory.mktemp("undisturbed"))
    two_hours(store)
    whole_run(store)
    return store


def test_the_operations_of_a_run_are_all_tried(store: FolderStore) -> None:
    two_hours(store)
    counting = DyingStore(store, 1000)
    whole_run(counting)
    assert 1000 - counting.left == OPERATIONS


@pytest.mark.integration  # two seconds of files
@pytest.mark.parametrize("operations", range(OPERATIONS))
def test_killed_anywhere_nothing_is_lost(
    store: FolderStore, undisturbed: FolderStore, operations: int
) -> None:
    two_hours(store)
    with pytest.raises(Killed):
        whole_run(DyingStore(store, operations))
    waiting_hours = [hour for hour in hours_received(store, "spot") if waiting(store, hour)]
    assert waiting_hours or [row[1] for row in compacted(store)] == [1, 2, 3, 4]
    whole_run(store)
    assert compacted(store) == compacted(undisturbed)
    assert [row[1] for row in compacted(store)] == [1, 2, 3, 4]
    assert store.names("raw/") == []
    for name in undisturbed.names("compact/"):
        assert store.read(name) == undisturbed.read(name)
    assert store.names("compact/") == undisturbed.names("compact/")
