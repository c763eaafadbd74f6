"""The intake: what is kept, what is dropped, and what is remembered of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from collector.continuity import Continuity
from collector.hole_records import Outcome, whole
from collector.intake import Intake
from collector.sealing import SealedFrame, Sealer
from collector.spool import Spool
from market_data.frames import decode_frame, split_lines
from tests.collector.test_sealing import TIME_NS, envelope, trade

NOW = TIME_NS // 1000
KEY = ("trade", "BTCUSDT")


@dataclass
class Outbox:
    """An outbox whose filling the test sets."""

    is_full: bool = False
    has_room: bool = True
    puts: list[tuple[SealedFrame, ...]] = field(default_factory=list)

    def put(self, *frames: SealedFrame) -> None:
        self.puts.append(frames)

    @property
    def frames(self) -> list[SealedFrame]:
        return [frame for put in self.puts for frame in put]


@dataclass
class Bench:
    outbox: Outbox = field(default_factory=Outbox)
    continuity: Continuity = field(default_factory=lambda: Continuity("spot"))
    heal_max_ids: int = 1_000
    now: int = NOW

    def __post_init__(self) -> None:
        self.intake = Intake(
            Sealer(market="spot", collector="c1", epoch=7, with_quantities=False),
            self.continuity,
            self.outbox,  # type: ignore[arg-type]
            run_id="c1/7",
            frame_bytes=10**6,
            heal_max_ids=self.heal_max_ids,
            grace=1.0,
            now=lambda: self.now,
        )

    def take(
        self, *ids: int | bytes, connection: str = "t#1", overlaps: bool = False
    ) -> list[dict[str, Any]]:
        messages = [trade(each) if isinstance(each, int) else each for each in ids]
        times = [TIME_NS] * len(messages)
        return self.intake.take(connection, messages, times, overlaps=overlaps)

    def records(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)["data"]
            for frame in self.outbox.frames
            if frame.header.channel == "hole"
            for line in split_lines(decode_frame(frame.data).body)
        ]

    def missing(self) -> list[tuple[int, int, str]]:
        return [(hole.first_id, hole.last_id, hole.cause) for hole in self.continuity.holes()]

    def fill(self, is_full: bool) -> None:
        self.outbox.is_full, self.outbox.has_room = is_full, not is_full


def test_a_frame_tells_what_is_to_be_kept_of_its_holes() -> None:
    it = Bench()
    it.take(1, 2)
    it.take(3, 6)
    it.take(7)
    assert [set(frame.open_holes) for frame in it.outbox.frames] == [set(), {KEY}, set()]
    assert it.missing() == [(4, 5, "unknown")]


def test_a_hole_and_its_record_become_durable_together() -> None:
    it = Bench()
    it.take(1, 5)
    it.now += 2_000_000
    it.take(2, 3, 4)
    trades, record = it.outbox.puts[-1]
    assert (trades.header.channel, record.header.channel) == ("trade", "hole")
    assert trades.open_holes == {KEY: b"[]"}
    assert (record.header.sequence, record.header.source) == (3, "stream")
    assert it.records()[0]["outcome"] == "healed"


def test_garbage_beside_a_hole_is_its_cause() -> None:
    it = Bench()
    it.take(1, b'{"stream":"btcusdt@tra', 3)
    it.take(5)  # the broken message may have been the last one of its buffer
    it.take(7)
    it.take(8, trade(9)[:-40], 10)
    it.take(11, b"\x00", connection="t#2")
    it.take(13)
    causes = [hole[2] for hole in it.missing()]
    assert causes == ["unreadable", "unreadable", "unknown", "unreadable", "disconnect"]


class TestOverlap:
    def test_repeats_are_dropped(self) -> None:
        it = Bench()
        it.take(1, 2, overlaps=True)
        it.take(1, 2, connection="t#2", overlaps=True)
        it.take(2, 3, connection="t#2", overlaps=True)
        assert it.intake.duplicates == 3
        assert [frame.header.lines for frame in it.outbox.frames] == [2, 1]
        assert [frame.header.sequence for frame in it.outbox.frames] == [1, 2]
        assert it.missing() == []

    def test_outside_of_an_overlap_they_are_kept_and_counted(self) -> None:
        it = Bench()
        it.take(1, 2)
        it.take(1, 2, connection="t#2")
        assert (it.intake.duplicates, it.continuity.repeats["trade"]) == (0, 2)
        assert len(it.outbox.frames) == 2

    def test_what_was_dropped_for_want_of_room_is_no_repeat(self) -> None:
        it = Bench()
        it.take(1, overlaps=True)
        it.fill(True)
        it.take(2, overlaps=True)
        it.fill(False)
        it.take(2, connection="t#2", overlaps=True)
        assert [frame.header.lines for frame in it.outbox.frames] == [1, 1]


class TestNoRoom:
    def test_messages_are_dropped_as_named_holes(self) -> None:
        it = Bench()
        it.take(1, 2)
        it.fill(True)
        it.take(3, 4)
        it.take(5)
        assert it.intake.is_dropping
        assert not it.intake.has_room()
        assert (it.intake.dropped, len(it.outbox.frames)) == ({"trade": 3}, 1)
        it.fill(False)
        it.take(6)
        assert it.missing() == [(3, 5, "dropped")]
        assert it.outbox.frames[-1].header.sequence == 2, "numbers have no hole"
        assert KEY in it.outbox.frames[-1].open_holes

    def test_they_are_named_also_when_nothing_follows(self) -> None:
        it = Bench()
        it.take(1, 2)
        it.fill(True)
        it.take(3, 9)
        it.fill(False)
        it.intake.look()
        assert it.missing() == [(3, 9, "dropped")]
        it.take(11, 10)
        assert it.missing() == [(3, 9, "dropped")]
        assert b'"last_id":9' in it.outbox.frames[-1].open_holes[KEY]
        it.take(12)
        assert it.outbox.frames[-1].open_holes == {}

    def test_they_are_known_after_a_restart(self, tmp_path: Path) -> None:
        it = Bench()
        it.take(1, 2)
        it.fill(True)
        it.take(3, 9)
        it.fill(False)
        it.take(b"{}")
        spool = Spool(tmp_path)
        spool.commit(it.outbox.frames, [])
        again = Bench(continuity=Continuity("spot", spool.ledger.positions(), spool.holes()))
        assert again.missing() == [(3, 9, "dropped")]
        again.take(10)
        again.take(12)
        assert again.missing() == [(3, 9, "dropped"), (11, 11, "unknown")]

    def test_a_symbol_that_was_never_kept(self, tmp_path: Path) -> None:
        it = Bench()
        it.fill(True)
        it.take(3, 4)
        it.fill(False)
        it.take(5)
        assert it.missing() == [(3, 4, "dropped")]
        kept = {key: holes for frame in it.outbox.frames for key, holes in frame.open_holes.items()}
        spool = Spool(tmp_path)
        spool.commit(it.outbox.frames, [])
        spool.close()
        again = Spool(tmp_path)
        assert kept.keys() == {KEY}
        assert Continuity("spot", (), again.holes()).missing_ids == 2

    def test_channels_without_ids_are_counted(self) -> None:
        it = Bench()
        it.fill(True)
        it.take(envelope("btcusdt@kline_1m", {}), envelope("btcusdt@kline_1m", {}), b"garbage")
        assert it.intake.dropped == {"kline": 2, "control": 1}

    def test_control_messages_are_acted_on(self) -> None:
        it = Bench()
        it.fill(True)
        assert it.take(1, b'{"code":2,"msg":"no"}') == [{"code": 2, "msg": "no"}]
        (notice,) = it.take(b'{"e":"serverShutdown","E":1}')
        assert notice["e"] == "serverShutdown"

    def test_it_is_told_once_each_time(self, caplog: pytest.LogCaptureFixture) -> None:
        it = Bench()
        for _ in range(2):
            it.fill(True)
            it.take(1)
            it.take(2)
            it.fill(False)
            it.take(3)
        told = [record.levelname for record in caplog.records if "is full" in record.message]
        assert told == ["ERROR", "ERROR"]

    def test_there_has_to_be_some_room_first(self) -> None:
        it = Bench()
        it.outbox.is_full = True
        it.outbox.has_room = False
        it.take(1)
        it.outbox.is_full = False
        it.intake.look()
        assert it.intake.is_dropping


def test_too_much_is_handed_over() -> None:
    it = Bench(heal_max_ids=10)
    it.take(1, 5)
    it.take(20)
    assert it.missing() == [(2, 4, "unknown")]
    (record,) = it.records()
    assert (record["first_missing_id"], record["last_missing_id"]) == (6, 19)
    assert (record["outcome"], record["missing"]) == ("handed_over", 14)
    assert "COLLECTOR_HEAL_MAX_IDS (10)" in record["detail"]
    assert b'"first_id":6' not in it.outbox.frames[-1].open_holes[KEY]


def test_a_reset_ends_the_holes_of_the_symbol() -> None:
    it = Bench()
    it.take(*range(5_000, 5_010))
    it.take(5_011)
    it.take(7)
    it.take(8)
    (record,) = it.records()
    assert (record["first_missing_id"], record["outcome"]) == (5_010, "failed")
    assert record["detail"] == "the exchange has set its ids back"


def test_settled_parts_and_what_came() -> None:
    it = Bench()
    it.take(1, 9)
    it.take(4)
    (hole,) = it.continuity.holes()
    it.intake.settle(hole, whole(hole, Outcome.FAILED, "why"))
    assert [
        (each["first_missing_id"], each["last_missing_id"], each["outcome"], each["frames"])
        for each in it.records()
    ] == [(2, 3, "failed", ""), (4, 4, "healed", "c1/7/2"), (5, 8, "failed", "")]
    assert it.missing() == []
    assert it.intake.ended == {"failed": 6, "healed": 1}
