"""A run: from the plan over the frames to the rows of ops.holes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from market_data.tables import HOLES
from plugins.market_ops.backfill.vision import Vision
from plugins.market_ops.repair.budget import Banned
from plugins.market_ops.repair.frames import Message
from plugins.market_ops.repair.holes import Aggregate, SourceTrade
from plugins.market_ops.repair.ledger import Record
from plugins.market_ops.repair.rest import SourceError
from plugins.market_ops.repair.run import RepairFailed, fetch, find, frame_ids, judge, records

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIME = int(NOW.timestamp() * 1000)


class Exchange:
    def __init__(self, ids: Sequence[int], failure: Exception | None = None) -> None:
        self.ids, self.failure, self.asked = ids, failure, 0

    def trades(self, symbol: str, from_id: int) -> list[SourceTrade]:
        self.asked += 1
        if self.failure:
            raise self.failure
        found = [each for each in self.ids if each >= from_id][:1000]
        return [SourceTrade(each, "1.5", "2", TIME, True, True) for each in found]

    def aggregates(self, symbol: str, start: int, end: int) -> list[Aggregate]:
        return [Aggregate(1, 1, 12), Aggregate(2, 15, 99)]


def told(*holes: tuple[int, int], is_news: bool = True) -> dict[str, Any]:
    rows = [
        {"symbol": "BTCUSDT", "first_id": first, "last_id": last, "is_news": is_news}
        | {"before": NOW.isoformat(), "after": NOW.isoformat()}
        for first, last in holes
    ]
    return {"epoch": 7, "found_at": NOW.isoformat(), "holes": rows}


def fetched(
    exchange: Exchange, *holes: tuple[int, int], **options: Any
) -> tuple[dict[str, Any], list[Message]]:
    sent: list[Message] = []
    client = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(404)))
    done = fetch(
        told(*holes, **options),
        api=exchange,
        vision=Vision("http://x", client, lambda _: None),
        folder=Path("/nowhere"),
        publish=sent.extend,
        clock=NOW.timestamp,
    )
    return done, sent


def rows(done: dict[str, Any], loaded: dict[str, tuple[int, int]]) -> list[tuple[Any, ...]]:
    made = records("r1", told(), done, loaded, NOW)
    return [
        (each.first_missing_id, each.last_missing_id, each.outcome, each.frames) for each in made
    ]


def test_records_are_the_tables_rows() -> None:
    assert list(Record.__annotations__) == [column.name for column in HOLES.columns]


def test_holes_are_healed_when_their_frames_are_loaded() -> None:
    done, sent = fetched(Exchange(range(50)), (10, 19), (30, 34))
    assert [each.frame_id for each in sent] == frame_ids(done) == ["repair/7/1", "repair/7/2"]
    loaded = {"repair/7/1": (10, 0), "repair/7/2": (5, 0)}
    assert rows(done, loaded) == [
        (10, 19, "healed", "repair/7/1"),
        (30, 34, "healed", "repair/7/2"),
    ]
    assert judge(done, records("r1", told(), done, loaded, NOW)) == {
        "holes": 2,
        "ids": {"healed": 15},
    }


@pytest.mark.parametrize(
    ("loaded", "why"),
    [
        ({}, "frame repair/7/1 is not in ops.frames"),
        ({"repair/7/1": (9, 1)}, "9 rows were loaded and 1 lines rejected"),
    ],
)
def test_what_is_not_loaded_has_failed(loaded: dict[str, tuple[int, int]], why: str) -> None:
    done, _ = fetched(Exchange(range(50)), (10, 19))
    (row,) = records("r1", told(), done, loaded, NOW)
    assert (row.outcome, row.closed_at, row.frames) == ("failed", None, "")
    assert why in row.detail
    with pytest.raises(RepairFailed, match="BTCUSDT 10 to 19"):
        judge(done, [row])


def test_a_hole_with_trades_and_absent_ids_takes_rows_of_its_own() -> None:
    done, _ = fetched(Exchange([*range(13), *range(15, 50)]), (10, 19))
    assert rows(done, {"repair/7/1": (8, 0)}) == [
        (10, 12, "healed", "repair/7/1"),
        (13, 14, "absent_at_source", ""),
        (15, 19, "healed", "repair/7/1"),
    ]


def test_without_rest_and_archive_a_hole_fails_and_says_why() -> None:
    done, sent = fetched(Exchange([], SourceError("REST: HTTP 451")), (10, 19))
    assert sent == []
    (row,) = records("r1", told(), done, {}, NOW)
    assert row.outcome == "failed"
    assert "HTTP 451" in row.detail
    assert "next day" in row.detail


def test_a_ban_is_told_with_its_end() -> None:
    done, _ = fetched(Exchange([], Banned(NOW.timestamp() + 120)), (10, 19))
    made = records("r1", told(), done, {}, NOW)
    with pytest.raises(RepairFailed, match=r"banned until 2026-03-01T12:02:00\+00:00"):
        judge(done, made)


def test_a_failure_that_is_no_news_is_not_told_again() -> None:
    done, _ = fetched(Exchange([], SourceError("no")), (10, 19), is_news=False)
    made = records("r1", told(), done, {}, NOW)
    assert judge(done, made) == {"holes": 1, "ids": {"failed": 10}}


def test_trades_that_no_frame_may_carry_fail_the_hole_only() -> None:
    class Odd(Exchange):
        def trades(self, symbol: str, from_id: int) -> list[SourceTrade]:
            found = super().trades(symbol, from_id)
            return [each._replace(price="0") if each.id == 12 else each for each in found]

    done, sent = fetched(Odd(range(50)), (10, 19), (30, 31))
    assert [each.frame_id for each in sent] == ["repair/7/1"]
    first, second = records("r1", told(), done, {"repair/7/1": (2, 0)}, NOW)
    assert (first.outcome, second.outcome) == ("failed", "healed")
    assert "BTCUSDT 12 from rest" in first.detail


def test_a_range_by_hand_is_checked() -> None:
    for wrong in (
        {"symbol": "BTCUSDT"},
        {"symbol": "BTCUSDT", "first_id": 5, "last_id": 4},
        {"symbol": "BTCUSDT", "first_id": 0, "last_id": 100_000},
    ):
        with pytest.raises(RepairFailed, match="first_id"):
            find(None, NOW, **wrong)  # type: ignore[arg-type]
    plan = find(None, NOW, symbol="BTCUSDT", first_id=5, last_id=9, day="2026-03-01")  # type: ignore[arg-type]
    assert plan is not None
    (hole,) = plan["holes"]
    assert hole["before"] == "2026-03-01T00:00:00+00:00"
    assert hole["after"] == "2026-03-01T23:59:59.999999+00:00"
