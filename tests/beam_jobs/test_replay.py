import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from apache_beam.pvalue import TaggedOutput

from beam_jobs import load, replay
from beam_jobs.archive import ArchiveKey
from beam_jobs.compare import FoundTotals, FrameCount, Missing
from beam_jobs.proof import Sums
from beam_jobs.read_archive import Problem
from beam_jobs.replay import FindMissing, LoadMissing, ProveHours, WriteProof, count
from beam_jobs.table_totals import Entered
from market_data.frames import encode_frame
from market_data.tables import FRAME_SYMBOLS, FRAMES, TRADES
from tests.beam_jobs.samples import frame, trade
from tests.beam_jobs.test_load import Writer

KEY = ArchiveKey("spot", "trade", "2026-02-02T02", 0)
DATA = encode_frame(frame(trade(1), trade(2), trade(7, "ETHUSDT")))
LONG_AGO = Entered(datetime(2026, 2, 2, 3, tzinfo=UTC), "stream")


class Tables:
    """What the tables would answer."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], Any] = {}
        self.there: dict[tuple[str, str], npt.NDArray[np.int64]] = {}
        self.ledger: dict[str, Entered] = {}
        self.asked_ids: list[str] = []

    def totals(self, channel: str, frames: Iterable[FrameCount]) -> FoundTotals:
        assert channel == "trade"
        return self.found

    def ids(self, channel: str, frames: Iterable[FrameCount]) -> Any:
        self.asked_ids = [each.frame_id for each in frames]
        return self.there

    def entered(self, key: ArchiveKey) -> dict[str, Entered]:
        assert key == KEY
        return self.ledger


@pytest.fixture
def counted() -> FrameCount:
    key, found = count(DATA, frozenset())
    assert key == KEY
    return found


@pytest.fixture
def tables(counted: FrameCount) -> Tables:
    """Tables that have everything."""
    tables = Tables()
    tables.found = {(counted.frame_id, totals.symbol): totals for totals in counted.totals}
    tables.ledger = {counted.frame_id: LONG_AGO}
    return tables


def find(
    tables: Tables, *frames: FrameCount | None, symbols: frozenset[str] = frozenset()
) -> tuple[dict[str, Missing], Any]:
    step = FindMissing("project", None, symbols)
    step._tables = tables  # type: ignore[assignment]
    *missing, before = step.process((KEY, [None, *frames]))
    assert isinstance(before, TaggedOutput)
    return dict(missing), before.value


class TestFindMissing:
    def test_nothing_is_missing(self, tables: Tables, counted: FrameCount) -> None:
        missing, (key, before) = find(tables, counted)
        assert missing == {}
        assert (key, before) == (KEY, list(counted.totals))
        assert tables.asked_ids == []

    def test_what_is_there_in_part_is_asked_for(self, tables: Tables, counted: FrameCount) -> None:
        name = (counted.frame_id, "BTCUSDT")
        tables.found[name] = replace(tables.found[name], count=1)
        tables.there = {name: np.array([2], np.int64)}
        missing, _ = find(tables, counted)
        assert tables.asked_ids == [counted.frame_id]
        assert missing[counted.frame_id].rows["BTCUSDT"].tolist() == [2]
        assert list(missing[counted.frame_id].rows) == ["BTCUSDT"]

    def test_what_is_not_there_at_all_is_not_asked_for(
        self, tables: Tables, counted: FrameCount
    ) -> None:
        tables.found.clear()
        missing, (_, before) = find(tables, counted)
        assert [list(ids) for ids in missing[counted.frame_id].rows.values()] == [[], []]
        assert (tables.asked_ids, before) == ([], [])

    def test_a_part_of_a_frame_gets_no_entry(self, tables: Tables, counted: FrameCount) -> None:
        tables.ledger.clear()
        assert find(tables, counted)[0].keys() == {counted.frame_id}
        assert find(tables, counted, symbols=frozenset({"BTCUSDT"}))[0] == {}

    def test_frames_of_other_hours_are_no_part_of_it(
        self, tables: Tables, counted: FrameCount
    ) -> None:
        tables.found["c1/7/99", "BTCUSDT"] = counted.totals[0]
        assert find(tables, counted)[1][1] == list(counted.totals)

    def test_an_hour_without_frames(self, tables: Tables) -> None:
        tables.ledger.clear()
        assert find(tables) == ({}, (KEY, []))


class TestLoadMissing:
    def load(
        self,
        writer: Writer,
        *missing: Missing,
        symbols: frozenset[str] = frozenset(),
        data: bytes = DATA,
    ) -> list[Any]:
        step = LoadMissing("project", None, symbols)
        step.setup()
        step.start_bundle()
        outputs = list(step.process(data, {each.frame_id: each for each in missing}))
        step.finish_bundle()
        return outputs

    @pytest.fixture
    def writer(self, monkeypatch: pytest.MonkeyPatch) -> Writer:
        writer = Writer()
        monkeypatch.setattr(load, "StorageWriter", lambda project: writer)
        return writer

    def missing(self, is_entered: bool = True, **rows: list[int]) -> Missing:
        there = {symbol: np.array(ids, np.int64) for symbol, ids in rows.items()}
        return Missing("c1/7/1", there, is_entered)

    def test_a_whole_frame_is_left_alone(self, writer: Writer) -> None:
        assert self.load(writer) == []
        assert writer.appends == []

    def test_the_missing_rows_and_their_symbols_ledger(self, writer: Writer) -> None:
        assert self.load(writer, self.missing(BTCUSDT=[2])) == [1]
        found = dict(writer.appends)
        assert [(row["symbol"], row["trade_id"]) for row in found[TRADES]] == [("BTCUSDT", 1)]
        assert [(row["symbol"], row["count"]) for row in found[FRAME_SYMBOLS]] == [("BTCUSDT", 2)]
        assert FRAMES not in found

    def test_a_frame_that_was_never_loaded(self, writer: Writer) -> None:
        outputs = self.load(writer, self.missing(is_entered=False, BTCUSDT=[], ETHUSDT=[]))
        assert outputs == [3]
        found = dict(writer.appends)
        assert [row["symbol"] for row in found[FRAME_SYMBOLS]] == ["BTCUSDT", "ETHUSDT"]
        (entry,) = found[FRAMES]
        assert (entry["loaded_rows"], entry["published_at"]) == (3, entry["closed_at"])

    def test_rows_without_their_entry(self, writer: Writer) -> None:
        """The job was killed between the two."""
        assert self.load(writer, self.missing(is_entered=False)) == [0]
        assert writer.tables == ["ops.frame_symbols", "ops.frames"]

    def test_a_part_of_a_frame_that_was_never_loaded(self, writer: Writer) -> None:
        missing = self.missing(is_entered=False, ETHUSDT=[])
        assert self.load(writer, missing, symbols=frozenset({"ETHUSDT"})) == [1]
        found = dict(writer.appends)
        assert [row["symbol"] for row in found[FRAME_SYMBOLS]] == ["ETHUSDT"]
        assert FRAMES not in found

    def test_rejections_of_a_frame_that_was_loaded_are_there(self, writer: Writer) -> None:
        data = encode_frame(frame(trade(1), b"garbage"))
        assert self.load(writer, self.missing(BTCUSDT=[]), data=data) == [1]
        outputs = self.load(writer, self.missing(is_entered=False, BTCUSDT=[]), data=data)
        assert [getattr(each, "tag", each) for each in outputs] == ["rejections", 1]

    def test_into_another_dataset(self, writer: Writer) -> None:
        step = LoadMissing("project", "again", frozenset())
        step.setup()
        step.start_bundle()
        missing = self.missing(is_entered=False, BTCUSDT=[], ETHUSDT=[])
        list(step.process(DATA, {missing.frame_id: missing}))
        step.finish_bundle()
        assert writer.tables == ["again.trades", "again.frame_symbols", "again.frames"]


class TestProveHours:
    def prove(self, tables: Tables, *frames: FrameCount | None) -> Any:
        step = ProveHours("project", None)
        step._tables = step._originals = tables  # type: ignore[assignment]
        (proof,) = step.process((KEY, [None, *frames]), [], {KEY: []})
        return proof

    def test_equal(self, tables: Tables, counted: FrameCount) -> None:
        proof = self.prove(tables, counted)
        assert proof.archive == proof.table
        assert proof.archive["BTCUSDT"] == Sums(2, Decimal(3), Decimal("0.4"), Decimal(1))
        assert (proof.before, proof.differences, proof.unarchived) == ({}, [], [])

    def test_what_is_still_missing_is_told(self, tables: Tables, counted: FrameCount) -> None:
        tables.found.clear()
        proof = self.prove(tables, counted)
        assert (len(proof.differences), proof.table) == (2, {})

    def test_entered_and_in_no_object(self, tables: Tables, counted: FrameCount) -> None:
        just_now = datetime.now(UTC) - timedelta(minutes=1)
        tables.ledger |= {
            "c1/7/5": LONG_AGO,
            "c1/7/6": Entered(just_now, "stream"),  # on its way
            "vision/1/1": Entered(LONG_AGO.loaded_at, "archive"),
        }
        assert self.prove(tables, counted).unarchived == ["c1/7/5"]


def test_the_proof_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr(replay, "storage_client", lambda project: "client")
    monkeypatch.setattr(
        replay, "upload", lambda client, bucket, name, data, kind: written.update({name: data})
    )
    step = WriteProof("bucket", "project", "replays/p.json", {"first_hour": "2026-02-02T02"})
    step.process(None, [], [Problem("x: it is gone")], [3])
    proof = json.loads(written["replays/p.json"])
    assert (proof["first_hour"], proof["is_proven"]) == ("2026-02-02T02", False)
    assert (proof["problems"], proof["replayed_rows"]) == (["x: it is gone"], 3)
