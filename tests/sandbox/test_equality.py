import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from market_data.frames import Frame, FrameHeader, FrameKey, HeaderTotals, join_lines
from sandbox import equality
from sandbox.equality import (
    Archived,
    Stage,
    Sums,
    inequalities,
    missing_frames,
    read_archive,
    sequence_problems,
    socket_problems,
    table,
)

MINUTE = datetime(2026, 2, 2, 2, 40, tzinfo=UTC)
MINUTE_MS = 1_770_000_000_000


def line(trade_id: int, at_ms: int, symbol: str = "BTCUSDT") -> bytes:
    payload = {
        "e": "trade", "E": at_ms, "s": symbol, "t": trade_id, "p": "2.50000000",
        "q": "0.20000000", "T": at_ms, "m": True, "M": True,
    }  # fmt: skip
    text = {"received_at": at_ms * 1000, "stream": f"{symbol.lower()}@trade", "data": payload}
    return json.dumps(text, separators=(",", ":")).encode()


def frame(sequence: int, ids: list[int], *, minute: int = 0, collector: str = "sandbox") -> Frame:
    header = FrameHeader(
        frame_id=f"{collector}/7/{sequence}", market="spot", channel="trade", collector=collector,
        epoch=7, sequence=sequence, source="stream", lines=len(ids), opened_at=1, closed_at=2,
        symbols={"BTCUSDT": HeaderTotals(ids[0], ids[-1], len(ids), sum(ids))},
    )  # fmt: skip
    return Frame(header, join_lines(line(each, MINUTE_MS + 60_000 * minute) for each in ids))


def archive() -> Archived:
    """Three frames, the second of which repeats an id of the first; the last is there twice."""
    last = frame(4, [14], minute=1)
    frames = [frame(1, [10, 11, 12]), frame(2, [12, 13]), last, last]
    return read_archive(frames, equality._EVER)


def sums(trades: int, ids: int | None) -> Sums:
    return Sums(trades, ids, Decimal("0.2") * trades, Decimal("0.5") * trades)


def stages(**changes: Sums | None) -> dict[str, Stage]:
    """Return equal stages but for one minute of those that are named."""
    cells = {("BTCUSDT", MINUTE): sums(4, 46), ("BTCUSDT", MINUTE.replace(minute=41)): sums(1, 14)}
    found: dict[str, Stage] = {name: dict(cells) for name in ("archive", "table", "mart")}
    found["candles"] = {cell: sums(each.trades, None) for cell, each in cells.items()}
    for name, changed in changes.items():
        del found[name]["BTCUSDT", MINUTE]
        if changed is not None:
            found[name]["BTCUSDT", MINUTE] = changed
    return found


def test_the_archive_counts_each_id_once_and_by_minute() -> None:
    assert archive().stage == stages()["archive"]
    assert archive().received == {"BTCUSDT": 6}
    assert archive().frames_of(("BTCUSDT", MINUTE)).keys() == {10, 11, 12, 13}
    later = read_archive([frame(1, [10]), frame(2, [11], minute=1)], MINUTE.replace(minute=41))
    assert [cell[1].minute for cell in later.stage] == [41]
    assert read_archive([], MINUTE).stage == {}


def test_equal_stages() -> None:
    assert list(inequalities(stages())) == []
    assert table(stages())[1].split() == ["BTCUSDT", "2", *("5",) * 4, "equal"]


def test_minutes_that_still_fill_are_left_out() -> None:
    late = stages()
    del late["candles"]["BTCUSDT", MINUTE.replace(minute=41)]
    assert len(list(inequalities(late))) == 1
    assert all(not stage for stage in equality.settled(late).values())
    assert [cell[1] for cell in equality.settled(stages())["table"]] == [MINUTE]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"table": sums(3, 34)},
            "archive has 4 trades, sum of ids 46, volumes 0.8 and 2, "
            "table has 3 trades, sum of ids 34, volumes 0.6 and 1.5",
        ),
        ({"mart": sums(4, 47)}, "table has 4 trades, sum of ids 46, volumes 0.8 and 2, mart has 4"),
        ({"candles": None}, "mart has 4 trades, sum of ids 46, volumes 0.8 and 2, candles has no"),
    ],
)
def test_the_minute_that_differs_is_named(changes: dict[str, Any], text: str) -> None:
    ((cell, told),) = inequalities(stages(**changes))
    assert cell == ("BTCUSDT", MINUTE)
    assert told.startswith(text)
    assert table(stages(**changes))[1].endswith("DIFFERENT")


def test_ids_and_frames_that_make_the_difference_are_named() -> None:
    class Asker:
        def ids(self, stage: str, cell: object) -> set[int]:
            return {"table": {10, 11, 99}, "mart": {10, 11}}[stage]

    found = list(equality._causes(stages(table=sums(3, 3)), Asker(), archive()))  # type: ignore[arg-type]
    assert found == [
        "BTCUSDT: the trades 12 to 13 are in the archive and not in the table;"
        " frames sandbox/7/2",
        "BTCUSDT: the trades 99 are in the table and not in the archive",
        "BTCUSDT: the trades 99 are in the table and not in the mart",
    ]  # fmt: skip


def test_the_socket_is_held_against_the_archive() -> None:
    ledger = {"symbols": [{"channel": "trade", "symbol": "BTCUSDT", "count": 6}]}
    assert socket_problems(archive(), ledger) == []
    ledger["symbols"][0]["count"] = 7
    assert socket_problems(archive(), ledger) == [
        "BTCUSDT: the collector received 7 trades, its frames in the archive have 6"
    ]
    assert sequence_problems(missing_frames(archive().frames)) == [
        "sandbox, epoch 7: the archive misses the frames 3"
    ]


def test_frames_that_are_still_gathered_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Archive:
        """Has the frame 3 at the second look."""

        looks = 0

        def __init__(self, _: object) -> None: ...

        def not_archived(self, frames: set[FrameKey]) -> set[FrameKey]:
            Archive.looks += 1
            return frames - {("sandbox", 7, 3)} if Archive.looks > 1 else frames

    seconds = iter(range(1000))
    monkeypatch.setattr(equality, "Reader", Archive)
    monkeypatch.setattr(equality.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(equality.time, "sleep", lambda _: None)
    missing = missing_frames(archive().frames)
    assert missing == {("sandbox", 7, 3)}
    assert equality.wait_archived(None, missing) == set()  # type: ignore[arg-type]
    assert Archive.looks == 2
    gone = {("sandbox", 7, 4)}
    assert equality.wait_archived(None, gone) == gone  # type: ignore[arg-type]
