import asyncio
import datetime as dt
import time

import pytest
from google.api_core import exceptions

from sandbox.pubsub.faults import Fault
from tests.sandbox.pubsub.conftest import SNAPSHOT, SUBSCRIPTION, TOPIC

pytestmark = pytest.mark.integration

ONCE = {"retry": None, "timeout": 5}


async def test_subscriptions_through_their_life(live):
    name = "projects/crypto-local/subscriptions/second"
    subscriber = live.subscriber
    await subscriber.create_subscription(
        request={"name": name, "topic": TOPIC, "enable_message_ordering": True}, **ONCE
    )
    updated = await subscriber.update_subscription(
        request={
            "subscription": {"name": name, "ack_deadline_seconds": 33},
            "update_mask": {"paths": ["ack_deadline_seconds"]},
        },
        **ONCE,
    )
    assert (updated.ack_deadline_seconds, updated.enable_message_ordering) == (33, True)
    assert (await subscriber.get_subscription(subscription=name, **ONCE)) == updated
    pager = await subscriber.list_subscriptions(project="projects/crypto-local", **ONCE)
    assert [item.name async for item in pager] == [SUBSCRIPTION, name]
    await subscriber.delete_subscription(subscription=name, **ONCE)
    with pytest.raises(exceptions.NotFound):
        await subscriber.get_subscription(subscription=name, **ONCE)


async def test_pull_waits_for_a_message(live):
    pulling = asyncio.create_task(live.pull())
    await asyncio.sleep(0.05)
    assert not pulling.done()
    await live.publish("a")
    [received] = await pulling
    assert received.message.data == b"a"


async def test_pull_gives_up_after_its_wait_and_before_the_clients_deadline(live):
    began = time.monotonic()
    assert await live.pull() == []
    assert 0.25 < time.monotonic() - began < 2
    response = await live.subscriber.pull(
        subscription=SUBSCRIPTION, max_messages=1, retry=None, timeout=0.7
    )
    assert not response.received_messages


async def test_return_immediately(live):
    with pytest.warns(DeprecationWarning, match="return_immediately"):
        response = await live.subscriber.pull(
            request={
                "subscription": SUBSCRIPTION,
                "max_messages": 1,
                "return_immediately": True,
            },
            **ONCE,
        )
    assert not response.received_messages


async def test_pull_keeps_below_the_clients_message_limit(live):
    await live.publish("x" * 3_000_000)
    await live.publish("y" * 3_000_000)
    assert len(await live.pull()) == 1
    assert len(await live.pull()) == 1


async def test_nack_and_ack(live):
    await live.publish("a")
    [first] = await live.pull()
    await live.subscriber.modify_ack_deadline(
        subscription=SUBSCRIPTION, ack_ids=[first.ack_id], ack_deadline_seconds=0, **ONCE
    )
    [again] = await live.pull()
    assert again.message.message_id == first.message.message_id
    await live.ack([again])
    stats = live.server.store.subscription_stats(live.server.clock())[SUBSCRIPTION]
    assert (stats.acked_messages, stats.backlog_messages) == (1, 0)


async def test_deadline_wakes_a_waiting_pull(live):
    await live.publish("a")
    [first] = await live.pull()
    await live.subscriber.modify_ack_deadline(
        subscription=SUBSCRIPTION, ack_ids=[first.ack_id], ack_deadline_seconds=1, **ONCE
    )
    received = []
    for _ in range(10):
        received = await live.pull()
        if received:
            break
    assert [item.message.data for item in received] == [b"a"]


async def test_seek_to_time_and_snapshot(live):
    await live.publish("a", "b")
    await live.subscriber.create_snapshot(name=SNAPSHOT, subscription=SUBSCRIPTION, **ONCE)
    await live.ack(await live.pull())
    now = dt.datetime.now(dt.UTC)
    await live.subscriber.seek(
        request={"subscription": SUBSCRIPTION, "time": now - dt.timedelta(minutes=1)}, **ONCE
    )
    assert await live.pull() == []
    await live.subscriber.seek(request={"subscription": SUBSCRIPTION, "snapshot": SNAPSHOT}, **ONCE)
    assert [item.message.data for item in await live.pull()] == [b"a", b"b"]
    assert (await live.subscriber.get_snapshot(snapshot=SNAPSHOT, **ONCE)).topic == TOPIC
    pager = await live.subscriber.list_snapshots(project="projects/crypto-local", **ONCE)
    assert [item.name async for item in pager] == [SNAPSHOT]
    await live.subscriber.delete_snapshot(snapshot=SNAPSHOT, **ONCE)
    with pytest.raises(exceptions.InvalidArgument, match="no target"):
        await live.subscriber.seek(request={"subscription": SUBSCRIPTION}, **ONCE)


async def test_statuses(live):
    with pytest.raises(exceptions.InvalidArgument, match="max_messages"):
        await live.pull(0)
    with pytest.raises(exceptions.InvalidArgument, match="zork"):
        await live.subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=["zork"], **ONCE)
    with pytest.raises(exceptions.NotFound):
        await live.subscriber.pull(subscription=SUBSCRIPTION + "zz", max_messages=1, **ONCE)


async def test_unavailable_spares_publishers(live):
    live.server.faults.add(Fault("unavailable", target="subscribe", calls=1), live.server.clock())
    await live.publish("a")
    with pytest.raises(exceptions.ServiceUnavailable):
        await live.pull()
    assert len(await live.pull()) == 1


async def test_slow(live):
    fault = Fault("slow", target="publish", calls=1, delay_seconds=0.2)
    live.server.faults.add(fault, live.server.clock())
    began = time.monotonic()
    await live.publish("a")
    assert time.monotonic() - began > 0.2
