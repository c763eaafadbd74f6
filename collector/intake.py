"""The intake: whatever reaches the collector becomes frames, is followed, and goes to the outbox.

When the outbox is full, messages are dropped, never the connection: their ids become holes that are
healed when there is room. Nothing is dropped silently: an error in the log when it begins, counters
by channel, and /healthz.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from collector.continuity import Continuity, Hole
from collector.hole_records import Outcome, Part, record_lines, source_of, whole
from collector.outbox import Outbox
from collector.repeats import Repeats
from collector.sealing import Sealed, SealedFrame, Sealer
from market_data.channels import CONTROL, HOLE, OTHER

log = logging.getLogger(__name__)


class Intake:
    """Everything between the connections and the outbox.

    Attributes:
        messages: messages received, by channel.
        dropped: messages dropped because the outbox was full, by channel.
        duplicates: messages dropped because another connection had delivered them.
        ended: ids of holes that were closed, by outcome.
        late: ids that came by themselves within the grace.
        is_dropping: whether messages are dropped now.

    Args:
        sealer: makes frames.
        continuity: follows them.
        outbox: where they go.
        run_id: the collector and its epoch, for records of holes.
        frame_bytes: frames of lines from REST are closed at so many bytes.
        heal_max_ids: missing ids beyond are left to repair_gaps.
        grace: seconds within which ids may come late.
        now: µs since 1970.
    """

    def __init__(
        self,
        sealer: Sealer,
        continuity: Continuity,
        outbox: Outbox,
        *,
        run_id: str,
        frame_bytes: int,
        heal_max_ids: int,
        grace: float,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.messages: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.duplicates = 0
        self.late = 0
        self.is_dropping = False
        self._sealer = sealer
        self._continuity = continuity
        self._outbox = outbox
        self._repeats = Repeats()
        self._run_id = run_id
        self._frame_bytes = frame_bytes
        self._heal_max_ids = heal_max_ids
        self._grace = int(grace * 1_000_000)
        self._now = now
        self._unsaved: set[tuple[str, str]] = set()
        self._torn = ""

    def take(
        self, connection: str, messages: list[bytes], times_ns: list[int], *, overlaps: bool
    ) -> list[dict[str, Any]]:
        """Take the messages of a connection and return the control messages among them.

        Args:
            connection: name of the connection, never used again for another one.
            messages: the messages, in order of arrival; at least one.
            times_ns: receive time of each, ns since 1970.
            overlaps: whether another connection carries the same streams.
        """
        if self._has_to_drop():
            sealed = self._sealer.seal(messages, times_ns, is_kept=False)
            for frame in sealed.frames:
                self._continuity.drop(frame, connection)
            self.dropped.update(sealed.messages)
            self.messages.update(sealed.messages)
            return sealed.controls
        if overlaps:
            count = len(messages)
            messages, times_ns = self._repeats.fresh(connection, messages, times_ns)
            self.duplicates += count - len(messages)
        else:
            self._repeats.forget(times_ns)
        sealed = self._sealer.seal(messages, times_ns)
        self._put(sealed, connection)
        return sealed.controls

    def take_lines(self, channel: str, lines: Sequence[bytes], time: int) -> None:
        """Take lines from REST, received at `time` (µs since 1970)."""
        self._put(self._sealed(channel, lines, time, "rest"), "")

    def deliver(self, channel: str, symbol: str, lines: Sequence[bytes], time: int) -> None:
        """Take lines from REST that were missing."""
        log.info("%s of %s: REST has given %d that were missing", channel, symbol, len(lines))
        self.take_lines(channel, lines, time)

    def settle(self, hole: Hole, parts: Sequence[Part]) -> None:
        """Close a hole: the parts have not come, the rest of it has."""
        self._continuity.close(hole)
        self._unsaved.add((hole.channel, hole.symbol))
        self._save(self._record(hole, parts))

    def has_room(self) -> bool:
        """Tell whether the spool takes more."""
        return not self.is_dropping

    def look(self) -> None:
        """Notice that the outbox has room again, also when no message comes."""
        self._has_to_drop()

    def _put(self, sealed: Sealed, connection: str) -> None:
        """Follow the frames and put them into the outbox, each with the holes that it ends."""
        self.messages.update(sealed.messages)
        now, is_torn = self._now(), False
        if connection:
            has_unreadable = _has_unreadable(sealed)
            is_torn = has_unreadable or self._torn == connection
            self._torn = connection if has_unreadable else ""
        followed = [
            self._continuity.follow(frame, connection, now, is_torn=is_torn)
            for frame in sealed.frames
        ]
        records: list[SealedFrame] = []
        for hole in (hole for each in followed for hole in each.filled):
            if not self._is_late(hole, now):
                records += self._record(hole, ())
        for hole in (hole for each in followed for hole in each.lost):
            parts = whole(hole, Outcome.FAILED, "the exchange has set its ids back")
            records += self._record(hole, parts)
        self._save([*(each.frame for each in followed), *records])
        if opened := sum(each.opened for each in followed):
            log.warning(
                "%d holes found, %d ids are missing in all", opened, self._continuity.missing_ids
            )
            self._hand_over()

    def _save(self, frames: Sequence[SealedFrame]) -> None:
        """Put frames into the outbox, with what is to be kept of holes that no frame changed."""
        if not frames:
            return
        if self._unsaved:
            last = frames[-1]
            kept = last.open_holes | self._continuity.kept(self._unsaved)
            frames = [*frames[:-1], dataclasses.replace(last, open_holes=kept)]
            self._unsaved.clear()
        self._outbox.put(*frames)

    def _is_late(self, hole: Hole, now: int) -> bool:
        """Tell whether a hole was none: its ids came by themselves, and soon."""
        is_late = now - hole.found_at < self._grace and "rest" not in hole.sources.values()
        if is_late:
            self.late += hole.last_id - hole.first_id + 1
        return is_late

    def _hand_over(self) -> None:
        for hole in self._continuity.excess(self._heal_max_ids):
            log.error(
                "%s of %s: %d to %d are left to repair_gaps: too much is missing",
                *(hole.channel, hole.symbol, hole.first_id, hole.last_id),
            )
            why = f"more than COLLECTOR_HEAL_MAX_IDS ({self._heal_max_ids}) ids or 1000 holes"
            self.settle(hole, whole(hole, Outcome.HANDED_OVER, why))

    def _record(self, hole: Hole, parts: Sequence[Part]) -> list[SealedFrame]:
        now = self._now()
        lines = list(record_lines(hole, parts, self._run_id, now))
        lost = Counter({part.outcome: 0 for part in parts})
        for part in parts:
            lost[part.outcome] += part.ids[1] - part.ids[0] + 1
        self.ended.update(lost)
        self.ended[Outcome.HEALED] += hole.last_id - hole.first_id + 1 - lost.total()
        sealed = self._sealed(HOLE, lines, now, source_of(hole, parts))
        self.messages.update(sealed.messages)
        return sealed.frames

    def _sealed(self, channel: str, lines: Sequence[bytes], time: int, source: str) -> Sealed:
        return self._sealer.seal_lines(
            channel, lines, time, source=source, max_bytes=self._frame_bytes
        )

    def _reveal(self) -> None:
        """Open the holes of what was dropped."""
        holes = self._continuity.reveal(self._now())
        log.warning(
            "messages are kept again; %d holes with %d ids were dropped and are healed from REST",
            *(len(holes), sum(hole.size for hole in holes)),
        )
        self._unsaved |= {(hole.channel, hole.symbol) for hole in holes}
        self._hand_over()

    def _has_to_drop(self) -> bool:
        if self.is_dropping:
            self.is_dropping = not self._outbox.has_room
            if not self.is_dropping:
                self._reveal()
        elif self._outbox.is_full:
            self.is_dropping = True
            log.error(
                "the spool is full or the disk is behind: messages are dropped from here on; free"
                " disk space, or see why Pub/Sub does not take the frames"
            )
        return self.is_dropping


def _has_unreadable(sealed: Sealed) -> bool:
    """Tell whether a message was none that the exchange documents."""
    bare = sealed.messages.get(CONTROL, 0) - len(sealed.controls)
    return bare + sealed.messages.get(OTHER, 0) > 0 or any(
        frame.header.lines > sum(totals.count for totals in frame.header.symbols.values())
        for frame in sealed.frames
        if frame.header.symbols
    )
