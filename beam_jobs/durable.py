"""Durable: which frame of a collector's life is the first that table or archive may not have.

Pure. Sequences of a life are consecutive, so the ledger itself tells what is missing in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import datetime

from market_data.decode import from_microseconds
from market_data.frames import FrameKey


@dataclass(frozen=True, slots=True)
class LoadedFrame:
    """A frame as `ops.frames` has it: its rows are in the table.

    Attributes:
        collector: who sealed it.
        epoch: start of the collector's life, µs since 1970.
        sequence: consecutive number of the frame in that life, from 1.
        closed_at: when its last line was received, by the collector's clock.
        published_at: when Pub/Sub took it.
    """

    collector: str
    epoch: int
    sequence: int
    closed_at: datetime
    published_at: datetime

    @property
    def key(self) -> FrameKey:
        """Return what identifies it."""
        return self.collector, self.epoch, self.sequence


@dataclass(frozen=True, slots=True)
class Doubt:
    """The first frame of a life that is not known to be both in the table and in the archive.

    Attributes:
        key: the frame.
        published_after: it was not published before; by the collector's clock.
    """

    key: FrameKey
    published_after: datetime


def doubts(
    frames: Iterable[LoadedFrame], archived: Set[FrameKey], since: datetime
) -> Iterator[Doubt]:
    """Yield the first frame in doubt of each life, up to the life's last loaded frame.

    A frame is sealed after the frame before it, and published later still: so the receive time of
    that one's last line bounds its publish time. What a life published after its last loaded frame
    can't be told from here.

    Args:
        frames: what is loaded; of each life all from the one before its first frame that was
            published since `since`.
        archived: what the archive's manifests name.
        since: what was published before is not looked at; Pub/Sub has forgotten it.
    """
    lives: dict[tuple[str, int], dict[int, LoadedFrame]] = defaultdict(dict)
    for frame in frames:
        lives[frame.collector, frame.epoch][frame.sequence] = frame
    for (collector, epoch), loaded in lives.items():
        recent = [number for number, frame in loaded.items() if frame.published_at >= since]
        after = from_microseconds(epoch)
        for sequence in range(max(1, min(recent, default=1) - 1), max(loaded) + 1):
            key = (collector, epoch, sequence)
            if sequence not in loaded or key not in archived:
                yield Doubt(key, after)
                break
            after = loaded[sequence].closed_at
