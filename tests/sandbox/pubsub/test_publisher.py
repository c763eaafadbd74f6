import pytest
from google.api_core import exceptions

from sandbox.pubsub.faults import Fault
from tests.sandbox.pubsub.conftest import SUBSCRIPTION, TOPIC

pytestmark = pytest.mark.integration

ONCE = {"retry": None, "timeout": 5}


async def test_topics_through_their_life(live):
    name = "projects/crypto-local/topics/second"
    publisher = live.publisher
    await publisher.create_topic(request={"name": name, "labels": {"a": "b"}}, **ONCE)
    updated = await publisher.update_topic(
        request={
            "topic": {"name": name, "labels": {"a": "c"}},
            "update_mask": {"paths": ["labels"]},
        },
        **ONCE,
    )
    assert dict(updated.labels) == {"a": "c"}
    assert (await publisher.get_topic(topic=name, **ONCE)).name == name
    listed = [
        topic.name
        async for topic in await publisher.list_topics(
            request={"project": "projects/crypto-local", "page_size": 1}, **ONCE
        )
    ]
    assert listed == [name, TOPIC]
    await publisher.delete_topic(topic=name, **ONCE)
    with pytest.raises(exceptions.NotFound):
        await publisher.get_topic(topic=name, **ONCE)


async def test_subscriptions_of_a_topic(live):
    pager = await live.publisher.list_topic_subscriptions(topic=TOPIC, **ONCE)
    assert [name async for name in pager] == [SUBSCRIPTION]


async def test_publish_answers_with_ids_in_order(live):
    response = await live.publish("a", "b", "c")
    assert len(set(response.message_ids)) == 3
    assert [item.message.message_id for item in await live.pull()] == list(response.message_ids)


async def test_statuses(live):
    call = live.publisher.publish
    with pytest.raises(exceptions.NotFound):
        await call(topic=TOPIC + "zz", messages=[{"data": b"x"}], **ONCE)
    with pytest.raises(exceptions.InvalidArgument, match="empty"):
        await call(topic=TOPIC, messages=[{}], **ONCE)
    with pytest.raises(exceptions.AlreadyExists):
        await live.publisher.create_topic(name=TOPIC, **ONCE)
    with pytest.raises(exceptions.MethodNotImplemented, match="schema_settings"):
        await live.publisher.create_topic(
            request={"name": TOPIC + "2", "schema_settings": {"schema": "projects/p/schemas/s"}},
            **ONCE,
        )


async def test_full_memory_is_resource_exhausted_and_ends_when_acknowledged(live):
    await live.publish("x" * 9_900_000)
    await live.publish("x" * 9_900_000)
    with pytest.raises(exceptions.ResourceExhausted, match="message memory is full"):
        await live.publish("x" * 9_900_000)
    live.server.store.delete_subscription(SUBSCRIPTION)
    await live.publish("x" * 9_900_000)


async def test_unavailable(live):
    live.server.faults.add(Fault("unavailable", target="publish", calls=1), live.server.clock())
    with pytest.raises(exceptions.ServiceUnavailable, match="injected fault"):
        await live.publish("a")
    await live.publish("b")
    assert [item.message.data for item in await live.pull()] == [b"b"]


async def test_lost_reply_publishes_all_the_same(live):
    live.server.faults.add(Fault("lost_reply", calls=1), live.server.clock())
    with pytest.raises(exceptions.ServiceUnavailable):
        await live.publish("a")
    await live.publish("a")
    assert [item.message.data for item in await live.pull()] == [b"a", b"a"]
