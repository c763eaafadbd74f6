import pytest

from sandbox.pubsub.faults import Fault
from sandbox.pubsub.outbox import MAX_DUPLICATES
from tests.sandbox.pubsub.conftest import SUBSCRIPTION

pytestmark = pytest.mark.integration


def add(live, fault: Fault) -> None:
    live.server.faults.add(fault, live.server.clock())


def stats(live):
    return live.server.store.subscription_stats(live.server.clock())[SUBSCRIPTION]


async def test_duplicate_comes_later_under_another_ack_id(live):
    add(live, Fault("duplicate", every=2, calls=1))
    await live.publish("a", "b", "c")
    first = await live.pull(3)
    assert [item.message.data for item in first] == [b"a", b"b", b"c"]
    [again] = await live.pull(3)
    assert again.message == first[1].message
    assert again.ack_id not in {item.ack_id for item in first}
    await live.ack([again])
    assert stats(live).backlog_messages == 3, "only the real delivery can be acknowledged"
    await live.ack(first)
    assert stats(live).backlog_messages == 0


async def test_duplicates_count_against_max_messages(live):
    add(live, Fault("duplicate", calls=3))
    await live.publish("a", "b", "c", "d")
    assert len(await live.pull(3)) == 3
    batch = await live.pull(2)
    assert [item.message.data for item in batch] == [b"a", b"b"]
    assert [item.message.data for item in await live.pull(5)] == [b"c", b"d"]


async def test_duplicates_are_bounded(live):
    add(live, Fault("duplicate"))
    for _ in range(2):
        await live.publish(*["x"] * 600)
    seen = 0
    while seen < 1200:
        seen += sum(1 for _ in await live.pull(1200 - seen))
    assert MAX_DUPLICATES == 1000
    live.server.faults.clear()
    for _ in range(10):
        if not (batch := await live.pull(1000)):
            break
        seen += len(batch)
    assert seen <= 1200 + MAX_DUPLICATES


async def test_dropped_ack_is_answered_and_not_carried_out(live):
    add(live, Fault("drop_ack", calls=1))
    await live.publish("a")
    batch = await live.pull()
    await live.ack(batch)
    assert stats(live).backlog_messages == 1
    await live.ack(batch)
    assert stats(live).backlog_messages == 0
