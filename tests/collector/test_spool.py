import dataclasses
from decimal import Decimal
from pathlib import Path

import pytest

from collector import spool as spool_module
from collector.continuity import Continuity
from collector.sealing import SealedFrame, Sealer
from collector.spool import Spool, SpoolError

MESSAGE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1770000000001,"s":"BTCUSDT","t":%d,'
    b'"p":"2.5","q":"0.2","T":1770000000000,"m":true,"M":true}}'
)


def frames(*ids: int) -> list[SealedFrame]:
    sealer = Sealer(market="spot", collector="c1", epoch=ids[0], with_quantities=True)
    return [
        frame
        for i in ids
        for frame in sealer.seal([MESSAGE % i], [1_770_000_000_000_000_000]).frames
    ]


def test_frames_come_back_in_order_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.commit(frames(1, 2, 3), [])
    spool.close()
    again = Spool(tmp_path)
    assert again.frames == 3
    assert [frame.frame_id for frame in again.read_after(0, 10)] == ["c1/1/1", "c1/1/2", "c1/1/3"]
    first, *_ = again.read_after(0, 1)
    assert [frame.frame_id for frame in again.read_after(first.position, 1)] == ["c1/1/2"]


def test_acknowledged_frames_leave_and_positions_are_not_used_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.commit(frames(1), [])
    (old,) = spool.read_after(0, 10)
    spool.commit([], [old])
    assert (spool.frames, spool.bytes) == (0, 0)
    spool.commit(frames(2), [])
    (new,) = spool.read_after(old.position, 10)
    assert new.position > old.position


def test_the_ledger_survives_and_adds_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.commit(frames(1, 2), [])
    spool.commit(frames(3), [])
    spool.close()
    (position,) = Spool(tmp_path).ledger.positions()
    assert (position.first_id, position.last_id, position.count, position.sum_ids) == (1, 3, 3, 6)
    assert (position.sum_quantity, position.sum_quote_quantity) == (Decimal("0.6"), Decimal("1.5"))


def test_the_journal_is_folded_and_the_ledger_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.spool._FOLD_AFTER", 8)
    spool = Spool(tmp_path)
    journalled = []
    for number in range(1, 20):
        spool.commit(frames(number), [])
        journalled += spool._database.execute("select count(*) from journal").fetchone()
    assert (max(journalled), journalled.count(1)) == (8, 3), "folded twice"
    expected = spool.ledger.positions()
    assert [(each.count, each.sum_ids) for each in expected] == [(19, 190)]
    spool.close()
    again = Spool(tmp_path)
    assert again.ledger.positions() == expected
    for number in range(20, 36):
        again.commit(frames(number), [])
    again.close()
    (position,) = Spool(tmp_path).ledger.positions()
    assert (position.first_id, position.last_id, position.count) == (1, 35, 35)


def test_a_transaction_happens_wholly_or_not_at_all(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (frame,) = frames(1)
    spool.commit([frame], [])
    with pytest.raises(SpoolError, match="can't write to the spool"):
        spool.commit([*frames(2), frame], [])  # the second is there already
    assert spool.frames == 1
    (position,) = spool.ledger.positions()
    assert position.count == 1
    spool.commit(frames(3), [])
    assert spool.frames == 2


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="COLLECTOR_SPOOL_DIR"):
        Spool(tmp_path / "file" / "spool")
    (tmp_path / "spool.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(SpoolError, match="COLLECTOR_SPOOL_DIR"):
        Spool(tmp_path)


def test_a_spool_has_one_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_LOCK_SECONDS", 0.01)
    first = Spool(tmp_path)
    with pytest.raises(SpoolError, match="another collector uses it: give each a folder"):
        Spool(tmp_path)
    first.commit(frames(1), [])
    first.close()
    assert Spool(tmp_path).frames == 1


class TestHoles:
    """Open holes are durable with the frames that changed them."""

    def followed(self, *ids: int) -> tuple[Continuity, list[SealedFrame]]:
        it = Continuity("spot")
        return it, [it.follow(frame, "t#1", 5).frame for frame in frames(*ids)]

    def test_they_are_as_the_last_durable_frame_has_left_them(self, tmp_path: Path) -> None:
        it, sealed = self.followed(1, 3, 6, 2)
        spool = Spool(tmp_path)
        spool.commit(sealed[:2], [])
        spool.close()
        spool = Spool(tmp_path)
        assert [hole.missing for hole in spool.holes()] == [[(2, 2)]]
        spool.commit(sealed[2:], [])
        spool.close()
        assert Spool(tmp_path).holes() == list(it.holes())
        assert [hole.missing for hole in it.holes()] == [[(4, 5)]]

    def test_of_one_transaction_the_last_state_counts(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        spool.commit(self.followed(1, 3, 2)[1], [])
        assert spool.holes() == []

    def test_a_transaction_that_fails_changes_none(self, tmp_path: Path) -> None:
        _, (first, second) = self.followed(1, 3)
        spool = Spool(tmp_path)
        spool.commit([first], [])
        with pytest.raises(SpoolError):
            spool.commit([second, first], [])
        assert spool.holes() == []

    def test_those_of_other_symbols_stay(self, tmp_path: Path) -> None:
        _, (first, second) = self.followed(1, 3)
        (other,) = frames(9)
        spool = Spool(tmp_path)
        spool.commit([first, second], [])
        spool.commit([dataclasses.replace(other, open_holes={("trade", "A"): b"[]"})], [])
        assert len(spool.holes()) == 1
