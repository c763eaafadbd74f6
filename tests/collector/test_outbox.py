import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from collector import outbox
from collector.outbox import Outbox
from collector.sealing import SealedFrame, Sealer
from collector.spool import Spool, SpooledFrame, SpoolError
from tests.collector.test_spool import MESSAGE


def frames(count: int) -> list[SealedFrame]:
    sealer = Sealer(market="spot", collector="c1", epoch=1, with_quantities=False)
    return [
        f
        for i in range(count)
        for f in sealer.seal([MESSAGE % i], [1_770_000_000_000_000_000]).frames
    ]


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit, "waited 10 s in vain"
        time.sleep(0.005)


class Broker:
    """A publisher at our own border: says yes, no, or nothing yet."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.futures: list[tuple[str, Future[str]]] = []
        self.failures = 0
        self.is_silent = False
        self.closed = threading.Event()

    def publish(self, frame: SpooledFrame) -> Future[str]:
        future: Future[str] = Future()
        if self.is_silent:
            self.futures.append((frame.frame_id, future))
        elif self.failures:
            self.failures -= 1
            future.set_exception(ConnectionError("the broker is away"))
        else:
            self.taken.append(frame.frame_id)
            future.set_result("1")
        return future

    def close(self) -> None:
        self.closed.set()


@pytest.fixture(autouse=True)
def short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.outbox._IDLE_SECONDS", 0.02)


@pytest.fixture
def broker() -> Broker:
    return Broker()


def start(tmp_path: Path, broker: Broker) -> Outbox:
    subject = Outbox(Spool(tmp_path), broker, max_spool_bytes=10**9)
    subject.start()
    return subject


def test_frames_are_published_in_order_and_forgotten(tmp_path: Path, broker: Broker) -> None:
    subject = start(tmp_path, broker)
    for frame in frames(20):
        subject.put(frame)
    assert subject.stop(10)
    assert broker.taken == [f"c1/1/{number}" for number in range(1, 21)]
    assert (subject.counts.spooled_frames, subject.counts.published_lines) == (20, 20)
    assert Spool(tmp_path).frames == 0


def test_a_failed_publish_is_repeated_until_it_succeeds(tmp_path: Path, broker: Broker) -> None:
    broker.failures = 3
    subject = start(tmp_path, broker)
    for frame in frames(2):
        subject.put(frame)
    wait_for(lambda: subject.counts.published_frames == 2)
    assert subject.counts.failed_publishes == 3
    assert sorted(broker.taken) == ["c1/1/1", "c1/1/2"]
    assert subject.stop(10)


def test_what_is_not_acknowledged_waits_for_the_next_life(tmp_path: Path, broker: Broker) -> None:
    broker.is_silent = True
    subject = start(tmp_path, broker)
    for frame in frames(3):
        subject.put(frame)
    wait_for(lambda: len(broker.futures) == 3)
    broker.futures[1][1].set_result("1")
    wait_for(lambda: subject.counts.published_frames == 1)
    assert not subject.stop(0.1)
    assert broker.closed.is_set()

    second = Broker()
    successor = start(tmp_path, second)
    wait_for(lambda: successor.pending_frames == 0)
    assert second.taken == ["c1/1/1", "c1/1/3"]
    assert successor.stop(10)


def test_the_publisher_is_not_flooded(tmp_path: Path, broker: Broker, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "MAX_IN_FLIGHT", 4)
    broker.is_silent = True
    subject = start(tmp_path, broker)
    for frame in frames(10):
        subject.put(frame)
    wait_for(lambda: subject.counts.spooled_frames == 10 and len(broker.futures) == 4)
    while broker.futures:
        broker.futures.pop(0)[1].set_result("1")
        wait_for(lambda: len(broker.futures) <= 4)
        wait_for(lambda: bool(broker.futures) or subject.pending_frames == 0)
    assert subject.stop(10)
    assert subject.counts.published_frames == 10


def test_a_spool_that_cannot_be_written_keeps_frames_in_memory(
    tmp_path: Path, broker: Broker, monkeypatch
) -> None:
    spool = Spool(tmp_path)
    good_commit, broken = spool.commit, threading.Event()
    broken.set()

    def commit(arrived, acknowledged) -> None:
        if broken.is_set():
            raise SpoolError("disk full")
        good_commit(arrived, acknowledged)

    monkeypatch.setattr(spool, "commit", commit)
    subject = Outbox(spool, broker, max_spool_bytes=10**9)
    subject.start()
    for frame in frames(2):
        subject.put(frame)
    wait_for(lambda: subject.counts.failed_commits > 0)
    assert not subject.is_alive
    assert (subject.pending_frames, broker.taken) == (2, [])
    broken.clear()
    wait_for(lambda: len(broker.taken) == 2)
    assert subject.is_alive
    assert subject.stop(10)


def test_it_says_when_it_is_full(tmp_path: Path, broker: Broker) -> None:
    broker.is_silent = True
    subject = Outbox(Spool(tmp_path), broker, max_spool_bytes=1)
    subject.start()
    assert not subject.is_full
    subject.put(frames(1)[0])
    wait_for(lambda: subject.is_full)
    broker.is_silent = False
    wait_for(lambda: bool(broker.futures))
    broker.futures[0][1].set_result("1")
    wait_for(lambda: not subject.is_full)
    assert subject.stop(10)


def test_frames_that_are_put_together_are_committed_together(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    good_commit, sizes = spool.commit, []

    def commit(arrived, acknowledged) -> None:
        sizes.append(len(arrived))
        good_commit(arrived, acknowledged)

    monkeypatch.setattr(spool, "commit", commit)
    subject = Outbox(spool, broker, max_spool_bytes=10**9)
    subject.start()
    sealed = frames(300)
    for start in range(0, 300, 3):
        subject.put(*sealed[start : start + 3])
    assert subject.stop(10)
    assert len(broker.taken) == 300
    assert all(size % 3 == 0 for size in sizes)


def test_between_full_and_room_there_is_some_distance(tmp_path: Path, broker: Broker) -> None:
    broker.is_silent = True
    sealed = frames(4)
    size = sum(len(frame.data) for frame in sealed)
    subject = Outbox(Spool(tmp_path), broker, max_spool_bytes=size)
    assert subject.has_room
    subject.start()
    subject.put(*sealed)
    wait_for(lambda: subject.is_full and len(broker.futures) == 4)
    broker.futures.pop(0)[1].set_result("1")
    wait_for(lambda: not subject.is_full)
    assert not subject.has_room, "three quarters are used"
    broker.futures.pop(0)[1].set_result("1")
    wait_for(lambda: subject.has_room)
    for _, future in broker.futures:
        future.set_result("1")
    assert subject.stop(10)


def test_frames_that_wait_for_the_disk_are_bounded(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = frames(2)
    monkeypatch.setattr(outbox, "MAX_WAITING_BYTES", len(sealed[0].data) + 1)
    subject = Outbox(Spool(tmp_path), broker, max_spool_bytes=10**9)  # its thread does not run
    subject.put(sealed[0])
    assert not subject.is_full
    subject.put(sealed[1])
    assert subject.is_full
