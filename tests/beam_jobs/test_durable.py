"""The first frame in doubt, against what sets of frames say."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.durable import Doubt, LoadedFrame, doubts

EPOCH = 1_770_000_000_000_000
START = datetime.fromtimestamp(EPOCH / 1e6, UTC)
SINCE = START - timedelta(hours=1)


def closed(sequence: int) -> datetime:
    return START + timedelta(seconds=sequence)


def frame(
    sequence: int, published: float | None = None, collector: str = "c1", epoch: int = EPOCH
) -> LoadedFrame:
    """A frame a second, published half a second later unless told otherwise."""
    after = sequence + 0.5 if published is None else published
    at = START + timedelta(seconds=after)
    return LoadedFrame(collector, epoch, sequence, closed(sequence), at)


def in_doubt(
    loaded: Iterable[LoadedFrame], archived: Iterable[int], since: datetime = SINCE
) -> list[Doubt]:
    return list(doubts(loaded, {("c1", EPOCH, sequence) for sequence in archived}, since))


def test_nothing_is_in_doubt_when_all_is_in_both() -> None:
    assert in_doubt(map(frame, (1, 2, 3)), (1, 2, 3)) == []
    assert in_doubt([], ()) == []


def test_a_frame_that_was_loaded_and_not_archived() -> None:
    assert in_doubt(map(frame, (1, 2, 3)), (1, 3)) == [Doubt(("c1", EPOCH, 2), closed(1))]


def test_a_frame_that_was_archived_and_not_loaded() -> None:
    assert in_doubt(map(frame, (1, 3)), (1, 2, 3)) == [Doubt(("c1", EPOCH, 2), closed(1))]


def test_the_first_frame_of_a_life_is_not_older_than_the_life() -> None:
    assert in_doubt(map(frame, (2, 3)), (2, 3)) == [Doubt(("c1", EPOCH, 1), START)]


def test_each_life_has_its_own_first_frame_in_doubt() -> None:
    loaded = [frame(1), frame(2), frame(1, collector="c2"), frame(1, epoch=EPOCH + 9)]
    found = in_doubt(loaded, (1,))
    assert [doubt.key for doubt in found] == [
        ("c1", EPOCH, 2),
        ("c2", EPOCH, 1),
        ("c1", EPOCH + 9, 1),
    ]


def test_what_pubsub_has_forgotten_is_not_looked_at() -> None:
    since = closed(10)
    assert in_doubt(map(frame, (9, 10, 11)), (9, 10, 11), since) == []
    # 9 was published before, and is looked at: it may have come late.
    (doubt,) = in_doubt(map(frame, (10, 11)), (10, 11), since)
    assert doubt.key == ("c1", EPOCH, 9)


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=12),
    st.sets(st.integers(1, 12)),
    st.sets(st.integers(1, 12)),
)
def test_everything_published_before_is_in_both(
    waits: list[int], loaded: set[int], archived: set[int]
) -> None:
    """Frames are published in any order, but none before it was sealed."""
    published = {number: number + 0.5 + wait for number, wait in enumerate(waits, start=1)}
    frames = [frame(number, published[number]) for number in loaded & published.keys()]
    found = in_doubt(frames, archived)
    newest = max((each.published_at for each in frames), default=START)
    until = min([newest, *(doubt.published_after for doubt in found)])
    for number in range(1, max((each.sequence for each in frames), default=0) + 1):
        if START + timedelta(seconds=published[number]) < until:
            assert number in loaded & archived
