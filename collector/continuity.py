"""Continuity: which ids are missing, by channel and symbol. Pure.

Fed with every frame that is sealed. A frame's symbol whose ids are one run that begins behind the
last one costs a look-up and a comparison, however many messages it has; anything else is placed
range by range. An id is in exactly one of three states: in a frame, missing (in an open hole), or
given up (its hole was closed without it).

What is open is kept in the spool together with the frame that changed it, so the state after a
crash is that of the frames that were durable.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from collector.ledger import Position
from collector.protocol import CONSECUTIVE_IDS
from collector.runs import Range
from collector.sealing import SealedFrame

log = logging.getLogger(__name__)

# A range that ends so far below the last id is no late message: the exchange has set ids back.
FAR_BELOW: Final = 1_000
# Bounds memory and work; repair_gaps takes what is beyond.
MAX_HOLES: Final = 1_000

_ENCODER: Final = msgspec.json.Encoder()


class Cause(StrEnum):
    """Why ids are missing, as far as it can be known."""

    DISCONNECT = "disconnect"
    RESTART = "restart"
    DROPPED = "dropped"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"


class Hole(msgspec.Struct):
    """A range of missing ids.

    Attributes:
        channel: trade or aggTrade.
        symbol: symbol as Binance spells it.
        first_id: first missing id when it was found.
        last_id: last missing id when it was found, inclusive.
        found_at: when it was found, µs since 1970.
        cause: why.
        missing: ranges that are still missing, in order; none when the hole is closed.
        sources: how what came in the meantime has reached us, by frame.
    """

    channel: str
    symbol: str
    first_id: int
    last_id: int
    found_at: int
    cause: str
    missing: list[Range]
    sources: dict[str, str] = {}

    @property
    def size(self) -> int:
        """Number of ids that are still missing."""
        return _size(self.missing)


@dataclass(slots=True)
class Track:
    """One symbol of a channel.

    Attributes:
        channel: its channel.
        symbol: symbol as Binance spells it.
        first_id: first id that was followed.
        last_id: last id that was followed.
        connection: what the last frame came over; empty before the first one of this life.
        holes: open holes, by id.
        below: where a run far below has come to, and what `last_id` was then.
        dropped_to: last id that came and was dropped.
    """

    channel: str
    symbol: str
    first_id: int
    last_id: int
    connection: str
    holes: list[Hole] = field(default_factory=list)
    below: tuple[int, int] | None = None
    dropped_to: int = -1


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of a frame.

    Attributes:
        frame: the frame, with what is to be kept of the holes that it changed.
        opened: number of holes that it opened.
        filled: holes that have nothing missing any more, and are closed.
        lost: holes that are closed because the exchange has set its ids back.
    """

    frame: SealedFrame
    opened: int = 0
    filled: tuple[Hole, ...] = ()
    lost: tuple[Hole, ...] = ()


@dataclass(slots=True)
class _Arrival:
    """A frame that is being followed, and what it has changed so far."""

    frame: SealedFrame
    connection: str
    now: int
    is_torn: bool
    opened: int = 0
    changed: set[tuple[str, str]] = field(default_factory=set)
    filled: list[Hole] = field(default_factory=list)
    lost: list[Hole] = field(default_factory=list)


class Continuity:
    """The symbols of one collector.

    Attributes:
        missing_ids: ids in open holes.
        found: holes opened, by cause.
        repeats: ids that came again, by channel.
        resets: times that a symbol's ids jumped far back.

    Args:
        market: market of all frames.
        positions: the ledger of an earlier life.
        holes: what was open then.
    """

    def __init__(
        self, market: str, positions: Iterable[Position] = (), holes: Iterable[Hole] = ()
    ) -> None:
        self.missing_ids = 0
        self.found: Counter[str] = Counter()
        self.repeats: Counter[str] = Counter()
        self.resets = 0
        self._channels: dict[str, dict[str, Track]] = {
            channel: {} for channel in CONSECUTIVE_IDS.get(market, ())
        }
        for each in positions:
            if each.market == market and each.channel in self._channels:
                track = Track(each.channel, each.symbol, each.first_id, each.last_id, "")
                self._channels[each.channel][each.symbol] = track
        for hole in sorted(holes, key=_first_id):
            track = self._channels[hole.channel].setdefault(
                hole.symbol, Track(hole.channel, hole.symbol, hole.first_id, hole.last_id, "")
            )
            track.holes.append(hole)
            track.last_id = max(track.last_id, hole.last_id)
            self.missing_ids += hole.size

    def follow(
        self, frame: SealedFrame, connection: str, now: int, *, is_torn: bool = False
    ) -> Followed:
        """Take note of the ids of a frame.

        Args:
            frame: the frame; frames are followed in order of sequence.
            connection: name of what it came over, never used again for another one; empty for
                lines from REST, which only fill holes.
            now: µs since 1970.
            is_torn: a message beside it could not be read.
        """
        channel, pieces = frame.header.channel, frame.pieces
        tracks = self._channels.get(channel)
        if tracks is None:
            return Followed(frame)
        arrival: _Arrival | None = None
        for symbol, totals in frame.header.symbols.items():
            track = tracks.get(symbol)
            if (
                track is not None
                and totals.first_id == track.last_id + 1
                and symbol not in pieces
                and connection
            ):
                track.last_id = totals.last_id
                track.connection = connection
                continue
            arrival = arrival or _Arrival(frame, connection, now, is_torn)
            ranges = pieces.get(symbol, ((totals.first_id, totals.last_id),))
            if not connection:
                new = sum(self._fill(track, each, arrival) for each in ranges) if track else 0
            elif track is None:
                first, last = ranges[0]
                track = tracks[symbol] = Track(channel, symbol, first, last, connection)
                new = last - first + 1
                new += sum(self._place(track, each, arrival) for each in ranges[1:])
            else:
                new = sum(self._place(track, each, arrival) for each in ranges)
                track.connection = connection
            self.repeats[channel] += totals.count - new
        return Followed(frame) if arrival is None else self._followed(arrival)

    def drop(self, frame: SealedFrame, connection: str) -> None:
        """Take note of the ids of a frame that is not kept; `reveal` makes holes of them."""
        channel = frame.header.channel
        tracks = self._channels.get(channel)
        if tracks is None:
            return
        for symbol, totals in frame.header.symbols.items():
            first, last = totals.first_id, totals.last_id
            track = tracks.setdefault(symbol, Track(channel, symbol, first, first - 1, connection))
            track.dropped_to = max(track.dropped_to, last)

    def reveal(self, now: int) -> list[Hole]:
        """Open the holes of what was dropped behind the last id; returns them."""
        opened = []
        for track in (track for tracks in self._channels.values() for track in tracks.values()):
            if track.dropped_to > track.last_id:
                gap = (track.last_id + 1, track.dropped_to)
                opened.append(self._add(track, gap, now, Cause.DROPPED))
                track.last_id = track.dropped_to
            track.dropped_to = -1
        return opened

    def close(self, hole: Hole) -> None:
        """Give up what is missing in an open hole; `kept` says what is to be kept then."""
        self._channels[hole.channel][hole.symbol].holes.remove(hole)
        self.missing_ids -= hole.size
        hole.missing = []

    def kept(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Return what is to be kept of the open holes of these channels and symbols."""
        return {
            (channel, symbol): _ENCODER.encode(self._channels[channel][symbol].holes)
            for channel, symbol in keys
        }

    def holes(self) -> Iterator[Hole]:
        """Yield the open holes."""
        for tracks in self._channels.values():
            for track in tracks.values():
                yield from track.holes

    def is_missing(self, channel: str, symbol: str, item_id: int) -> bool:
        """Tell whether an id is missing in an open hole."""
        return any(
            first <= item_id <= last
            for hole in self._channels[channel][symbol].holes
            for first, last in hole.missing
        )

    def excess(self, max_ids: int) -> list[Hole]:
        """Return what is too much: the oldest beyond 1,000 holes, the largest beyond `max_ids`."""
        left = sorted(self.holes(), key=lambda hole: -hole.found_at)
        chosen = left[MAX_HOLES:]
        left = sorted(left[:MAX_HOLES], key=lambda hole: hole.size)
        missing = sum(hole.size for hole in left)
        while missing > max_ids:
            chosen.append(left.pop())
            missing -= chosen[-1].size
        return chosen

    def _place(self, track: Track, ids: Range, arrival: _Arrival) -> int:
        """Place a range of ids; return how many of them are new."""
        first, last = ids
        new = self._fill(track, ids, arrival)
        if last < track.last_id - FAR_BELOW and not new:
            self._jump(track, ids, arrival)
            return 0
        if first > track.last_id + 1:
            self._open(track, (track.last_id + 1, first - 1), arrival)
        elif last < track.first_id - 1:
            self._open(track, (last + 1, track.first_id - 1), arrival)
        if first < track.first_id:
            new += min(last + 1, track.first_id) - first
            track.first_id = first
        if last > track.last_id:
            new += last - max(first - 1, track.last_id)
            track.last_id = last
        return new

    def _open(self, track: Track, gap: Range, arrival: _Arrival) -> None:
        cause = _cause(track.connection, arrival)
        self._add(track, gap, arrival.now, cause)
        arrival.opened += 1
        arrival.changed.add((track.channel, track.symbol))

    def _add(self, track: Track, gap: Range, now: int, cause: Cause) -> Hole:
        hole = Hole(track.channel, track.symbol, *gap, now, cause, [gap])
        track.holes.append(hole)
        track.holes.sort(key=_first_id)
        self.missing_ids += hole.size
        self.found[cause] += 1
        return hole

    def _fill(self, track: Track, ids: Range, arrival: _Arrival) -> int:
        """Take a range out of the open holes; return how many of its ids were missing."""
        header, found = arrival.frame.header, 0
        for hole in list(track.holes):
            if ids[0] > hole.last_id or ids[1] < hole.first_id:
                continue
            left = list(without(hole.missing, ids))
            filled, hole.missing = hole.size - _size(left), left
            if filled:
                found += filled
                hole.sources = hole.sources | {header.frame_id: header.source}
                arrival.changed.add((track.channel, track.symbol))
                if not left:
                    track.holes.remove(hole)
                    arrival.filled.append(hole)
        self.missing_ids -= found
        return found

    def _jump(self, track: Track, ids: Range, arrival: _Arrival) -> None:
        """Take note of a range far below; a second one that joins it sets the symbol back.

        One alone may be an old message that was delivered again.
        """
        before, track.below = track.below, (ids[1], track.last_id)
        if before is None or before[1] != track.last_id:
            self.resets += 1
            log.error(
                "%s of %s: ids jumped back from %d to %d; holes are looked for from there on when"
                " more follow",
                *(track.channel, track.symbol, track.last_id, ids[0]),
            )
        elif ids[0] == before[0] + 1:
            arrival.lost += track.holes
            arrival.changed.add((track.channel, track.symbol))
            self.missing_ids -= sum(hole.size for hole in track.holes)
            track.first_id, track.last_id = ids
            track.holes, track.below = [], None

    def _followed(self, arrival: _Arrival) -> Followed:
        frame = arrival.frame
        if arrival.changed:
            frame = dataclasses.replace(frame, open_holes=self.kept(arrival.changed))
        return Followed(frame, arrival.opened, tuple(arrival.filled), tuple(arrival.lost))


def _cause(before: str, arrival: _Arrival) -> Cause:
    """Return why ids between two frames are missing."""
    if not before:
        return Cause.RESTART
    if arrival.connection != before:
        return Cause.DISCONNECT
    return Cause.UNREADABLE if arrival.is_torn else Cause.UNKNOWN


def _first_id(hole: Hole) -> int:
    return hole.first_id


def _size(ranges: Iterable[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def without(ranges: Iterable[Range], taken: Range) -> Iterator[Range]:
    """Yield what is left of ranges (inclusive) when another one is taken away."""
    first, last = taken
    for start, end in ranges:
        if start < first:
            yield start, min(end, first - 1)
        if end > last:
            yield max(start, last + 1), end
