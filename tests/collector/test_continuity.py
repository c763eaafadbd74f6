"""Continuity: every missing id is named, and no other."""

import copy
import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from collector import continuity
from collector.continuity import FAR_BELOW, Cause, Continuity, Followed, Hole, without
from collector.ledger import Ledger
from collector.runs import pieces_of
from collector.sealing import SealedFrame, Sealer
from market_data.frames import FrameHeader, HeaderTotals
from tests.collector.test_sealing import TIME_NS, trade

SYMBOL = "BTCUSDT"
A, B = "trade-0#1", "trade-0#2"
NOW = 1_770_000_000_000_000


def frame(
    ids: Sequence[int],
    *,
    symbol: str = SYMBOL,
    channel: str = "trade",
    source: str = "stream",
    number: int = 1,
) -> SealedFrame:
    totals = HeaderTotals(min(ids), max(ids), len(ids), sum(ids))
    header = FrameHeader(
        frame_id=f"c1/1/{number}", market="spot", channel=channel, collector="c1", epoch=1,
        sequence=number, source=source, lines=len(ids), opened_at=NOW, closed_at=NOW,
        symbols={symbol: totals},
    )  # fmt: skip
    pieces = pieces_of([symbol], np.zeros(len(ids), np.int64), np.array(ids, np.int64))
    return SealedFrame(header, b"", pieces)


def run(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


def missing(it: Continuity) -> list[tuple[int, int]]:
    return [ids for hole in it.holes() for ids in hole.missing]


def followed(*frames: Sequence[int]) -> tuple[Continuity, list[Followed]]:
    it = Continuity("spot")
    return it, [it.follow(frame(ids), A, NOW) for ids in frames]


def test_what_joins_changes_nothing() -> None:
    it, found = followed(run(5, 9), run(10, 10), run(11, 500))
    assert missing(it) == []
    assert all(each == Followed(each.frame) and not each.frame.open_holes for each in found)


def test_a_hole_between_frames_and_within_one() -> None:
    it, found = followed(run(5, 9), [12, 13, 17])
    assert missing(it) == [(10, 11), (14, 16)]
    assert (it.missing_ids, found[1].opened) == (5, 2)
    assert (it.found, it.repeats.total()) == ({"unknown": 2}, 0)


def test_a_hole_in_the_very_first_frame() -> None:
    it, _ = followed([5, 6, 9])
    assert missing(it) == [(7, 8)]


@pytest.mark.parametrize("disorder", [[5, 7, 6], [7, 6, 5], [6, 7, 5]])
def test_disorder_within_a_frame_is_no_hole(disorder: list[int]) -> None:
    it, _ = followed(disorder, run(8, 9))
    assert missing(it) == []


def test_repeats_are_counted_and_change_nothing() -> None:
    it, found = followed(run(5, 9), run(5, 9), [8, 9, 10], [10, 10, 11])
    assert missing(it) == []
    assert it.repeats == {"trade": 5 + 2 + 2}
    assert not any(each.frame.open_holes for each in found)


def test_sums_can_lie() -> None:
    """1, 2, 2, 5, 5 have the first, last, count and sum of 1 to 5."""
    it, _ = followed([1, 2, 2, 5, 5])
    assert missing(it) == [(3, 4)]


def test_late_ids_fill_a_hole_part_by_part() -> None:
    it, _ = followed([1, 10])
    assert it.follow(frame(run(4, 5)), A, NOW).filled == ()
    assert missing(it) == [(2, 3), (6, 9)]
    it.follow(frame(run(1, 3)), A, NOW)
    assert missing(it) == [(6, 9)]
    (hole,) = it.follow(frame(run(6, 9), number=7, source="rest"), "", NOW).filled
    assert (hole.first_id, hole.last_id, hole.missing) == (2, 9, [])
    assert hole.sources == {"c1/1/1": "stream", "c1/1/7": "rest"}
    assert it.missing_ids == 0


def test_lines_from_rest_fill_and_never_open() -> None:
    it, _ = followed([1, 10])
    it.follow(frame([5, 20, 30], source="rest"), "", NOW)
    it.follow(frame([7], symbol="UNHEARD", source="rest"), "", NOW)
    assert missing(it) == [(2, 4), (6, 9)]
    it.follow(frame([11]), A, NOW)
    assert missing(it) == [(2, 4), (6, 9)]


def test_earlier_ids_of_a_second_connection_at_the_start() -> None:
    it, _ = followed(run(100, 110), run(96, 99))
    assert missing(it) == []
    it.follow(frame(run(90, 92)), B, NOW)
    assert missing(it) == [(93, 95)]


def test_symbols_and_channels_are_apart() -> None:
    it = Continuity("spot")
    for symbol, channel, first in (("A", "trade", 1), ("B", "trade", 7), ("A", "aggTrade", 50)):
        it.follow(frame([first], symbol=symbol, channel=channel), A, NOW)
        it.follow(frame([first + 2], symbol=symbol, channel=channel), A, NOW)
    assert sorted((hole.channel, hole.symbol, hole.first_id) for hole in it.holes()) == [
        *(("aggTrade", "A", 51), ("trade", "A", 2), ("trade", "B", 8)),
    ]
    assert it.is_missing("aggTrade", "A", 51)
    assert not it.is_missing("trade", "A", 51)


@pytest.mark.parametrize("channel", ["bookTicker", "kline", "depth", "exchangeInfo", "hole"])
def test_other_channels_have_no_holes(channel: str) -> None:
    it = Continuity("spot")
    for ids in ([1], [9], [3]):
        it.follow(frame(ids, channel=channel), A, NOW)
    assert missing(it) == []


def test_on_futures_only_aggregate_ids_are_consecutive() -> None:
    it = Continuity("usdm")
    for channel in ("trade", "aggTrade"):
        it.follow(frame([1], channel=channel), A, NOW)
        it.follow(frame([3], channel=channel), A, NOW)
    assert [hole.channel for hole in it.holes()] == ["aggTrade"]


@pytest.mark.parametrize(
    ("connection", "is_torn", "cause"),
    [
        (A, False, Cause.UNKNOWN),
        (A, True, Cause.UNREADABLE),
        (B, True, Cause.DISCONNECT),
        (B, False, Cause.DISCONNECT),
    ],
)
def test_causes(connection: str, is_torn: bool, cause: Cause) -> None:
    it = Continuity("spot")
    it.follow(frame([1]), A, NOW)
    it.follow(frame([3]), connection, NOW, is_torn=is_torn)
    assert [hole.cause for hole in it.holes()] == [cause]


def restarted(*frames: SealedFrame) -> Continuity:
    """Return the continuity of a collector that died when just these frames were durable."""
    ledger, kept = Ledger(), {}
    ledger.add(each.header for each in frames)
    for each in frames:
        kept |= each.open_holes
    holes = [hole for blob in kept.values() for hole in msgspec.json.decode(blob, type=list[Hole])]
    return Continuity("spot", ledger.positions(), holes)


def test_after_a_restart_the_first_message_opens_the_hole() -> None:
    _, found = followed([1, 2, 5], run(6, 7))
    it = restarted(*(each.frame for each in found))
    assert missing(it) == [(3, 4)]
    it.follow(frame([20]), A, NOW)
    assert missing(it) == [(3, 4), (8, 19)]
    assert [hole.cause for hole in it.holes()] == [Cause.UNKNOWN, Cause.RESTART]


def test_a_restart_without_loss_opens_none() -> None:
    _, found = followed(run(1, 7))
    it = restarted(found[0].frame)
    assert it.follow(frame(run(8, 9)), A, NOW).opened == 0


class TestFarBelow:
    """The exchange sets ids back: flagged once, then followed from there."""

    def set_back(self, *frames: list[int]) -> tuple[Continuity, list[Followed]]:
        return followed([1, *run(5_000, 5_009), 5_011], *frames)

    def test_it_is_flagged_once_and_followed_from_the_second_frame_on(self) -> None:
        it, found = self.set_back([2_000], [2_001], [2_002, 2_004], [2_005])
        assert it.resets == 0, "these fill a hole"
        it, found = followed(run(3_000, 5_009), [5_011], [100], [101], [102, 104], [105])
        assert it.resets == 1
        assert missing(it) == [(103, 103)]
        (lost,) = found[3].lost
        assert lost.missing == [(5_010, 5_010)]
        assert found[3].frame.open_holes == {("trade", SYMBOL): b"[]"}

    def test_an_old_message_alone_changes_nothing(self) -> None:
        it, _ = followed(run(1, 5_000), run(10, 12), run(5_001, 5_002), run(13, 14), [5_003])
        assert missing(it) == []
        assert it.resets == 2

    def test_two_that_do_not_join_change_nothing(self) -> None:
        it, _ = followed(run(1, 5_000), [10], [500], [5_001])
        assert (missing(it), it.resets) == ([], 1)

    def test_what_is_not_far_is_a_repeat(self) -> None:
        it, _ = followed(run(1, FAR_BELOW + 5), [6], [7])
        assert (it.resets, it.repeats.total()) == (0, 2)


class TestExcess:
    def test_the_largest_hole_goes_first(self) -> None:
        it, _ = followed([1, 3, 103, 105])
        assert it.excess(101) == []
        assert [hole.first_id for hole in it.excess(100)] == [4]
        assert [hole.first_id for hole in it.excess(1)] == [4, 104]
        assert len(it.excess(0)) == 3

    def test_the_oldest_of_too_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(continuity, "MAX_HOLES", 2)
        it = Continuity("spot")
        for number in range(4):
            it.follow(frame([10 * number]), A, NOW + number)
        assert [hole.first_id for hole in it.excess(1000)] == [1]

    def test_what_is_given_up_is_not_missing(self) -> None:
        it, _ = followed([1, 5, 9])
        (first, _) = it.holes()
        it.close(first)
        assert (missing(it), it.missing_ids) == ([(6, 8)], 3)
        assert b'"first_id":6' in it.kept([("trade", SYMBOL)])["trade", SYMBOL]


@pytest.mark.parametrize("with_quantities", [False, True])
def test_only_what_is_no_run_has_pieces(with_quantities: bool) -> None:
    ids = {"RUN": [7, 5, 6], "HOLE": [1, 2, 4], "TWICE": [1, 2, 2, 5, 5], "ONE": [9]}
    messages = [trade(each, symbol) for symbol, those in ids.items() for each in those]
    sealer = Sealer(market="spot", collector="c1", epoch=7, with_quantities=with_quantities)
    (sealed,) = sealer.seal(messages, [TIME_NS] * len(messages)).frames
    assert sealed.pieces == {"HOLE": ((1, 2), (4, 4)), "TWICE": ((1, 2), (5, 5))}


ids_lists = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@given(ids_lists, ids_lists, st.booleans())
def test_pieces_of_a_sealed_frame_are_its_ids(
    one: list[int], other: list[int], with_quantities: bool
) -> None:
    messages = [
        message
        for pair in zip(map(trade, one), (trade(each, "A1") for each in other), strict=False)
        for message in pair
    ]
    sealer = Sealer(market="spot", collector="c1", epoch=7, with_quantities=with_quantities)
    (sealed,) = sealer.seal(messages, [TIME_NS] * len(messages)).frames
    for symbol, ids in ((SYMBOL, one), ("A1", other)):
        ids = ids[: len(messages) // 2]
        totals = sealed.header.symbols[symbol]
        ranges = sealed.pieces.get(symbol)
        is_run = len(ids) == len(set(ids)) == totals.last_id - totals.first_id + 1
        assert (ranges is None) == is_run
        if ranges is not None:
            assert [each for first, last in ranges for each in run(first, last)] == sorted(set(ids))


@given(ids_lists, st.integers(0, 30), st.integers(0, 10))
def test_without(ids: list[int], first: int, length: int) -> None:
    taken = (first, first + length)
    left = without([(each, each + 2) for each in sorted({i * 4 for i in ids})], taken)
    assert {each for one, other in left for each in run(one, other)} == {
        each for i in ids for each in run(i * 4, i * 4 + 2)
    } - set(run(*taken))


@dataclasses.dataclass
class Model:
    """Sets of ids: what the tracker says in ranges."""

    seen: set[int] = dataclasses.field(default_factory=set)
    given_up: set[int] = dataclasses.field(default_factory=set)
    ends: set[int] = dataclasses.field(default_factory=set)

    @property
    def missing(self) -> set[int]:
        if not self.ends:
            return set()
        return set(run(min(self.ends), max(self.ends))) - self.seen - self.given_up


class Following(RuleBasedStateMachine):
    """Runs, repeats, disorder, several connections, late heals, hand-overs, commits, kills."""

    @initialize()
    def start(self) -> None:
        self.it = Continuity("spot")
        self.models = {"A": Model(), "B": Model()}
        self.durable: list[SealedFrame] = []
        self.durable_models = copy.deepcopy(self.models)
        self.pending: list[tuple[SealedFrame, dict[str, Model]]] = []
        self.number = 0
        self.link = 1

    def put(self, sealed: SealedFrame) -> None:
        self.pending.append((sealed, copy.deepcopy(self.models)))

    def follow(self, symbol: str, ids: Sequence[int], connection: str, source: str) -> None:
        self.number += 1
        sealed = frame(ids, symbol=symbol, source=source, number=self.number)
        model = self.models[symbol]
        before = model.missing
        model.seen |= set(ids) if connection else set(ids) & before
        model.given_up -= set(ids) if connection else set()
        if connection:
            model.ends |= set(ids)
        done = self.it.follow(sealed, connection, NOW)
        assert {each for hole in done.filled for each in run(hole.first_id, hole.last_id)} >= {
            each for hole in done.filled for each in before if hole.first_id <= each <= hole.last_id
        }
        self.put(done.frame)

    symbols = st.sampled_from(["A", "B"])

    @rule(symbol=symbols, skip=st.integers(0, 3), length=st.integers(1, 20))
    def a_run(self, symbol: str, skip: int, length: int) -> None:
        start = max(self.models[symbol].ends, default=10) + 1 + skip
        self.follow(symbol, run(start, start + length - 1), f"#{self.link}", "stream")

    @rule(symbol=symbols, back=st.integers(0, 25), ids=ids_lists)
    def disorder(self, symbol: str, back: int, ids: list[int]) -> None:
        start = max(max(self.models[symbol].ends, default=10) - back, 0)
        self.follow(symbol, [start + each for each in ids], f"#{self.link}", "stream")

    @rule()
    def another_connection(self) -> None:
        self.link += 1

    @rule(symbol=symbols, data=st.data())
    def heal(self, symbol: str, data: st.DataObject) -> None:
        wanted = sorted(self.models[symbol].missing)
        if wanted:
            ids = data.draw(st.lists(st.sampled_from(wanted), min_size=1, max_size=30, unique=True))
            self.follow(symbol, ids, "", "rest")

    @precondition(lambda self: self.it.missing_ids)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        hole = data.draw(st.sampled_from(list(self.it.holes())))
        self.models[hole.symbol].given_up |= {
            each for first, last in hole.missing for each in run(first, last)
        }
        self.it.close(hole)
        self.number += 1
        record = frame([1], channel="hole", number=self.number)
        kept = self.it.kept([(hole.channel, hole.symbol)])
        self.put(dataclasses.replace(record, open_holes=kept))

    @rule(share=st.floats(0, 1))
    def commit(self, share: float) -> None:
        count = round(len(self.pending) * share)
        if count:
            self.durable += [sealed for sealed, _ in self.pending[:count]]
            self.durable_models = self.pending[count - 1][1]
            del self.pending[:count]

    @rule()
    def kill(self) -> None:
        self.pending.clear()
        self.models = copy.deepcopy(self.durable_models)
        self.it = restarted(*self.durable)

    @invariant()
    def every_missing_id_is_named_and_no_other(self) -> None:
        if not hasattr(self, "it"):
            return
        for symbol, model in self.models.items():
            holes = [hole for hole in self.it.holes() if hole.symbol == symbol]
            named = [each for hole in holes for first, last in hole.missing
                     for each in run(first, last)]  # fmt: skip
            assert named == sorted(model.missing), symbol
            assert all(hole.missing for hole in holes)
            assert all(
                hole.first_id <= first <= last <= hole.last_id
                for hole in holes
                for first, last in hole.missing
            )
        assert self.it.missing_ids == sum(len(model.missing) for model in self.models.values())


TestFollowing = Following.TestCase
TestFollowing.settings = settings(stateful_step_count=30)
