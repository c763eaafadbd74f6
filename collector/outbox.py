"""The outbox: one thread that makes frames durable and publishes them.

A frame's way: put() -> committed to the spool -> handed to the publisher -> acknowledged ->
removed from the spool. Frames left by an earlier life are published first. A failed publish is
repeated from the spool with back-off; nothing is removed before its acknowledgement.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from collector.backoff import backoff
from collector.ledger import Position
from collector.sealing import SealedFrame
from collector.spool import Spool, SpooledFrame, SpoolError

log = logging.getLogger(__name__)

# Bytes of frames waiting for the disk: some seconds of a full market. Beyond, it is full.
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
# It has room again below this part of the limits, so that it is not full and not full in turns.
_ROOM: Final = 0.75
# Frames handed to the publisher and not acknowledged; the rest wait on disk. Google's client has a
# thread for every few of them, which waits as long as Pub/Sub is away.
MAX_IN_FLIGHT: Final = 64
_READ_AT_ONCE: Final = 64
# Commits are this far apart at least: under load one makes several frames durable, and a frame
# that comes alone does not wait.
_COMMIT_SECONDS: Final = 0.02
# How long the thread sleeps when nothing happens; retries are looked at that often.
_IDLE_SECONDS: Final = 0.2


class Publisher(Protocol):
    """Where frames go; `collector.publisher.PubSubPublisher` is the real one."""

    def publish(self, frame: SpooledFrame) -> Future[str]:
        """Start publishing a frame; the future ends with the message id or the failure."""

    def close(self) -> None:
        """Send what is batched and let go of the connection."""


@dataclass(slots=True)
class OutboxCounts:
    """What the outbox did, for metrics and the ledger."""

    spooled_frames: int = 0
    spooled_lines: int = 0
    published_frames: int = 0
    published_lines: int = 0
    failed_publishes: int = 0
    failed_commits: int = 0


class Outbox:
    """Owns the spool and the publisher; everything happens in its one thread.

    Args:
        spool: the spool; used by this thread only once it is started.
        publisher: where frames go.
        max_spool_bytes: `is_full` turns true when the spool holds so much.
    """

    def __init__(self, spool: Spool, publisher: Publisher, *, max_spool_bytes: int) -> None:
        self.counts = OutboxCounts()
        self._spool = spool
        self._publisher = publisher
        self._max_spool_bytes = max_spool_bytes
        self._arrived: collections.deque[SealedFrame] = collections.deque()
        self._acknowledged: collections.deque[SpooledFrame] = collections.deque()
        self._failed: collections.deque[SpooledFrame] = collections.deque()
        self._in_flight: dict[int, SpooledFrame] = {}
        self._position = 0
        self._is_failing = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stop_at: float | None = None
        self._retry_at = 0.0
        self._committed_at = 0.0
        self._waits = self._new_backoff()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    @property
    def is_full(self) -> bool:
        """True when nothing more can be kept until the disk or Pub/Sub has caught up."""
        return self._filling >= 1

    @property
    def has_room(self) -> bool:
        """True when so much has gone that what comes can be kept for a while."""
        return self._filling < _ROOM

    @property
    def pending_frames(self) -> int:
        """Frames that are not acknowledged yet, on their way to the disk or in the spool."""
        return len(self._arrived) + self._spool.frames

    @property
    def spool_bytes(self) -> int:
        """Size of the frames in the spool."""
        return self._spool.bytes

    @property
    def is_alive(self) -> bool:
        """True while the thread runs and the last write to the spool went well."""
        return self._thread.is_alive() and not self._is_failing

    def positions(self) -> list[Position]:
        """Return the ledger: control totals of all frames made durable."""
        return self._spool.ledger.positions()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, *frames: SealedFrame) -> None:
        """Take frames that become durable together; returns at once."""
        self._arrived.extend(frames)  # one step for the other thread, which takes all there are
        self._wake.put(None)

    def stop(self, seconds: float) -> bool:
        """Drain for at most `seconds`, then end the thread.

        Returns:
            True when nothing is left in the spool.
        """
        self._stop_at = time.monotonic() + seconds
        self._wake.put(None)
        self._thread.join(seconds + 10)
        return self.pending_frames == 0

    @property
    def _filling(self) -> float:
        """How full it is, by whatever is fuller; 1 is full."""
        waiting = sum(len(frame.data) for frame in list(self._arrived))
        return max(waiting / MAX_WAITING_BYTES, self._spool.bytes / self._max_spool_bytes)

    def _run(self) -> None:
        try:
            while not self._is_done():
                self._wait()
                if self._commit():
                    self._publish_failed()
                    self._publish_new()
        except Exception:
            log.exception("the outbox has stopped; its frames wait in the spool")
            raise
        finally:
            self._publisher.close()
            self._commit()
            self._spool.close()

    def _is_done(self) -> bool:
        if self._stop_at is None:
            return False
        return self.pending_frames == 0 or time.monotonic() >= self._stop_at

    def _wait(self) -> None:
        """Wait until there is something to do; a wake-up stands for all that happened before."""
        try:
            self._wake.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            return
        time.sleep(max(0.0, self._committed_at + _COMMIT_SECONDS - time.monotonic()))
        with contextlib.suppress(queue.Empty):
            while True:
                self._wake.get_nowait()

    def _commit(self) -> bool:
        """Make durable what arrived and forget what was acknowledged."""
        arrived = list(self._arrived)
        acknowledged = [self._acknowledged.popleft() for _ in range(len(self._acknowledged))]
        if not arrived and not acknowledged:
            return True
        self._committed_at = time.monotonic()
        try:
            self._spool.commit(arrived, acknowledged)
        except SpoolError:
            log.exception("frames stay in memory until the spool can be written")
            self.counts.failed_commits += 1
            self._acknowledged.extendleft(reversed(acknowledged))
            self._is_failing = True
            return False
        self._is_failing = False
        for frame in arrived:
            self._arrived.popleft()
            self.counts.spooled_frames += 1
            self.counts.spooled_lines += frame.header.lines
        for gone in acknowledged:
            self.counts.published_frames += 1
            self.counts.published_lines += gone.lines
        return True

    def _publish_failed(self) -> None:
        if self._failed and time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + next(self._waits)
            for _ in range(len(self._failed)):
                self._publish(self._failed.popleft())

    def _publish_new(self) -> None:
        while (room := MAX_IN_FLIGHT - len(self._in_flight) - len(self._failed)) > 0:
            frames = self._spool.read_after(self._position, min(room, _READ_AT_ONCE))
            if not frames:
                return
            for frame in frames:
                self._position = frame.position
                self._publish(frame)

    def _publish(self, frame: SpooledFrame) -> None:
        self._in_flight[frame.position] = frame
        future = self._publisher.publish(frame)
        future.add_done_callback(self._on_published(frame))

    def _on_published(self, frame: SpooledFrame) -> Callable[[Future[str]], None]:
        def done(future: Future[str]) -> None:
            """Note the outcome; runs in a thread of the publisher's."""
            self._in_flight.pop(frame.position, None)
            error = future.exception()
            if error is None:
                self._waits = self._new_backoff()
                self._acknowledged.append(frame)
            else:
                log.warning("frame %s was not published: %s", frame.frame_id, error)
                self.counts.failed_publishes += 1
                self._failed.append(frame)
            self._wake.put(None)

        return done

    @staticmethod
    def _new_backoff() -> Iterator[float]:
        return backoff(random.SystemRandom(), first=0.2, cap=10.0)
