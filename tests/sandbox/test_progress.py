import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox import progress as module
from sandbox.bigquery.rest import QueryError
from sandbox.progress import Progress, Reader, collector_progress, exchange_progress
from sandbox.settings import Platform, Settings, platform_of

STATUS = {"now": "2026-01-01T00:00:30Z", "done": False}
TOTALS = {"trades": [{"count": 3}, {"count": 4}], "agg_trades": [{"count": 9}]}
LEDGER = {
    "epoch": 5,
    "frames": {"sealed": 9, "spooled": 9, "published": 8, "pending": 1},
    "symbols": [
        {"channel": "trade", "count": 3},
        {"channel": "trade", "count": 2},
        {"channel": "aggTrade", "count": 7},
    ],
}
DONE = Progress(
    sent=7,
    received=8,  # one of them twice
    sealed=9,
    published=9,
    loaded_frames=9,
    all_loaded_frames=12,
    archived_frames=12,
    loaded=7,
    rows=8,
)


def test_what_the_exchange_says() -> None:
    assert exchange_progress(STATUS, TOTALS) == {
        "exchange_now": datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC),
        "is_sent_out": False,
        "sent": 7,
    }


def test_what_the_collector_says() -> None:
    assert collector_progress(LEDGER) == {
        "epoch": 5,
        "received": 5,
        "sealed": 9,
        "published": 8,
        "pending": 1,
    }


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, ""),
        ({"received": 6}, "received 6 of 7 trades"),
        ({"published": 8}, "published 8 of 9 frames, 0 pending"),
        ({"pending": 2}, "published 9 of 9 frames, 2 pending"),
        ({"loaded_frames": 8}, "loaded 8 of 9 frames"),
        ({"rows": 7}, "loaded 7 of 8 trades"),
        ({"holes": 3}, "3 trades are missing in between"),
        ({"loaded": 6}, "loaded 6 of 7 trades"),
        ({"archived_frames": 11}, "archived 11 of 12 frames"),
        ({"sent": None, "loaded": 3}, ""),
    ],
)
def test_what_is_missing(changes: dict[str, Any], missing: str) -> None:
    assert replace(DONE, **changes).missing(9) == missing


def test_the_archive_may_be_left_out() -> None:
    late = replace(DONE, archived_frames=11)
    assert late.missing(9, with_archive=False) == ""
    assert replace(late, rows=7).missing(9, with_archive=False) == "loaded 7 of 8 trades"


def test_lag() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert Progress().lag_seconds(now) is None
    newest = int(now.timestamp() * 1_000_000) - 1_500_000
    assert Progress(newest=newest).lag_seconds(now) == pytest.approx(1.5)


def answers(platform: Platform) -> dict[str, Any]:
    objects = f"{platform.gcs_url}/storage/v1/b/{platform.bucket}/o"
    first = {
        "items": [
            {"name": "raw/a.ndjson.zst", "size": "100"},
            {"name": "raw/a.manifest.json", "size": "9"},
        ],
        "nextPageToken": "next page",
    }
    frames = [
        {"collector": "c", "epoch": epoch, "sequence": sequence}
        for epoch, sequence in ((5, 1), (5, 2), (4, 1))
    ]
    return {
        f"{platform.exchange_url}/sim/status": STATUS,
        f"{platform.exchange_url}/sim/totals": TOTALS,
        f"{platform.collector_url}/ledger": LEDGER,
        f"{objects}?prefix=raw/&maxResults=1000&pageToken=": first,
        f"{objects}?prefix=raw/&maxResults=1000&pageToken=next%20page": {
            "items": [{"name": "raw/b.ndjson.zst", "size": "50"}]
        },
        f"{objects}/raw%2Fa.manifest.json?alt=media": {"frames": frames},
    }


ROWS: dict[str, list[dict[str, str | None]]] = {
    "raw.trades": [{"ids": "7", "present": "8", "missing": "2", "newest": "1000000"}],
    "ops.frames": [
        {"collector": "sandbox", "epoch": "5", "frames": "6"},
        {"collector": "sandbox", "epoch": "4", "frames": "99"},
    ],
    "raw.klines": [{"present": "3"}],
    "raw.rejections": [{"reason": "price", "present": "2"}],
}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    settings = Settings(home=tmp_path)
    started_at = datetime(2026, 1, 1, tzinfo=UTC)
    return platform_of(settings, started_at=started_at, ready_seconds=1, peak_memory=dict)


def fake_get(pages: dict[str, Any]) -> Callable[[str], tuple[int, bytes]]:
    def get(url: str) -> tuple[int, bytes]:
        if url not in pages:
            raise ConnectionRefusedError(url)
        return 200, json.dumps(pages[url]).encode()

    return get


def fake_query(url: str, project: str, sql: str) -> list[dict[str, str | None]]:
    for table, rows in ROWS.items():
        if f"`{project}.{table}`" in sql:
            return rows
    raise QueryError("no such table")


def test_every_stage_is_read(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "get", fake_get(answers(platform)))
    monkeypatch.setattr(module, "query", fake_query)
    assert Reader(platform).read() == Progress(
        exchange_now=datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC),
        sent=7,
        received=5,
        epoch=5,
        sealed=9,
        published=8,
        pending=1,
        objects=2,
        object_bytes=150,
        archived_frames=3,
        loaded_frames=6,
        all_loaded_frames=105,
        loaded=7,
        rows=8,
        holes=2,
        klines=3,
        newest=1_000_000,
        rejections={"price": 2},
    )


def test_a_second_collector_is_added_while_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = platform_of(
        Settings(home=tmp_path, collectors=2),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        ready_seconds=1,
        peak_memory=dict,
    )
    pages = answers(platform)
    monkeypatch.setattr(module, "get", fake_get(pages))
    alone = Reader(platform).read_stream()
    assert (alone.received, alone.pending) == (5, 1)
    monkeypatch.setattr(
        module, "get", fake_get({**pages, f"{platform.collector_urls[1]}/ledger": LEDGER})
    )
    both = Reader(platform).read_stream()
    assert (both.received, both.pending, both.published) == (10, 2, alone.published)


def test_a_stage_that_does_not_answer_keeps_its_numbers(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "get", fake_get(answers(platform)))
    monkeypatch.setattr(module, "query", fake_query)
    reader = Reader(platform)
    before = reader.read()
    monkeypatch.setattr(module, "get", fake_get({}))
    monkeypatch.setattr(module, "query", lambda *_: fake_query("", "", ""))
    assert reader.read() == before


def test_a_glance_rests_nine_times_as_long_as_it_took(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, asked = [0.0], []

    def slow_query(url: str, project: str, sql: str) -> list[dict[str, str | None]]:
        asked.append(sql)
        seconds[0] += 0.1
        return fake_query(url, project, sql)

    monkeypatch.setattr(module, "get", fake_get(answers(platform)))
    monkeypatch.setattr(module, "query", slow_query)
    reader = Reader(platform, clock=lambda: seconds[0])
    reader.read()
    per_look = len(asked)
    assert "count(distinct trade_id)" not in asked[0]
    seconds[0] += 0.1 * per_look * 9 - 0.01
    reader.read()
    assert len(asked) == per_look
    reader.read(exactly=True)
    assert "count(distinct trade_id)" in asked[per_look]
    seconds[0] += 0.1 * per_look * 9 + 0.01
    reader.read()
    assert len(asked) == 3 * per_look
