import pytest

from sandbox.pubsub.errors import InvalidArgumentError
from sandbox.pubsub.model import (
    MESSAGE_OVERHEAD_BYTES,
    MINUTE,
    SECOND,
    Consumer,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
)

DEAD = "projects/crypto-local/topics/dead"


def test_delivers_in_publish_order_and_once_while_leased(world):
    job = world.subscribe()
    world.publish("a", "b", "c")
    assert world.texts(job, 2) == ["a", "b"]
    assert world.texts(job) == ["c"]
    assert world.texts(job) == []


def test_deadline_ends_the_lease(world):
    job = world.subscribe(ack_deadline_seconds=10)
    world.publish("a")
    world.pull(job)
    world.later(9.999)
    assert world.texts(job) == []
    world.later(0.001)
    [again] = world.pull(job)
    assert (again.message.draft.data, again.attempt) == (b"a", 2)


def test_extending_the_deadline(world):
    job = world.subscribe()
    world.publish("a")
    [first] = world.pull(job)
    job.modify_ack_deadline([first.ack_id], 60, world.now)
    world.later(59)
    assert world.texts(job) == []
    world.later(1)
    assert world.texts(job) == ["a"]


def test_shortening_the_deadline(world):
    job = world.subscribe()
    world.publish("a")
    [first] = world.pull(job)
    job.modify_ack_deadline([first.ack_id], 1, world.now)
    world.later(1)
    assert world.texts(job) == ["a"]
    world.later(9)
    assert world.texts(job) == [], "the timer of the first lease must not end the second"


def test_nack_redelivers_at_once_and_its_ack_id_is_void(world):
    job = world.subscribe()
    world.publish("a")
    first = world.pull(job)
    world.nack(job, first)
    world.ack(job, first)
    assert world.texts(job) == ["a"]


def test_late_ack_counts_until_redelivery(world):
    job = world.subscribe()
    world.publish("a", "b")
    first = world.pull(job)
    world.later(10)
    world.ack(job, first[:1])
    assert world.texts(job) == ["b"]
    world.ack(job, first[1:])
    assert job.stats(world.now).backlog_messages == 1, "the redelivered one has a new ack id"


def test_ack_ids_of_another_subscription_do_nothing(world):
    job, other = world.subscribe(), world.subscribe("projects/crypto-local/subscriptions/other")
    world.publish("a")
    world.ack(other, world.pull(job))
    assert other.stats(world.now).backlog_messages == 1


def test_refuses_malformed_requests_as_a_whole(world):
    job = world.subscribe()
    world.publish("a")
    [delivery] = world.pull(job)
    with pytest.raises(InvalidArgumentError, match="zork"):
        world.store.acknowledge(job, [delivery.ack_id, "zork"])
    with pytest.raises(InvalidArgumentError, match="No ack ids"):
        world.store.acknowledge(job, [])
    for seconds in (-1, 601):
        with pytest.raises(InvalidArgumentError, match="0 to 600"):
            job.modify_ack_deadline([delivery.ack_id], seconds, world.now)
    assert job.stats(world.now).outstanding_messages == 1


def test_bytes_limit_always_lets_one_through(world):
    job = world.subscribe()
    world.publish("a" * 500, "b" * 500, "c" * 500)
    size = MESSAGE_OVERHEAD_BYTES + 500
    assert len(job.pull(world.now, 10, 1)) == 1
    assert len(job.pull(world.now, 10, 2 * size)) == 2


def test_flow_control_follows_acks_nacks_and_expiry(world):
    job = world.subscribe()
    world.publish(*"abcdef")
    stream = Consumer(max_messages=3)
    first = world.pull(job, consumer=stream)
    assert len(first) == 3
    assert world.pull(job, consumer=stream) == []
    world.ack(job, first[:1])
    world.nack(job, first[1:2])
    assert (stream.messages, stream.bytes) == (1, 1)
    world.later(10)
    job.expire(world.now)
    assert (stream.messages, stream.bytes) == (0, 0)
    assert world.texts(job) == ["b", "c", "d", "e", "f"]


def test_retry_policy_holds_back(world):
    job = world.subscribe(retry=RetryPolicy(2 * SECOND, 3 * SECOND))
    world.publish("a")
    world.nack(job, world.pull(job))
    world.later(1.9)
    assert world.texts(job) == []
    world.later(0.1)
    world.nack(job, world.pull(job))
    world.later(2.9)
    assert world.texts(job) == []
    world.later(0.1)
    assert world.texts(job) == ["a"]


def test_retention_drops_unacked_messages_even_leased_ones(world):
    job = world.subscribe(retention=10 * MINUTE, ack_deadline_seconds=600)
    world.publish("a")
    world.later(300)
    world.publish("b")
    leased = world.pull(job)
    world.later(300.001)
    job.expire(world.now)
    world.ack(job, leased[:1])
    stats = job.stats(world.now)
    assert (stats.expired_messages, stats.backlog_messages, stats.acked_messages) == (1, 1, 0)
    assert world.store.pool.bytes == 1 + MESSAGE_OVERHEAD_BYTES


def test_ending_retention_of_acked_messages_frees_them(world):
    job = world.subscribe(retain_acked=True)
    world.publish("a")
    world.ack(job, world.pull(job))
    assert world.store.pool.bytes == 1 + MESSAGE_OVERHEAD_BYTES
    job.apply(type(job.settings)(retain_acked=False))
    assert world.store.pool.bytes == 0


def test_timers_do_not_pile_up(world):
    job = world.subscribe()
    world.publish("a")
    [delivery] = world.pull(job)
    for _ in range(10_000):
        job.modify_ack_deadline([delivery.ack_id], 600, world.now)
    assert len(job._timers) < 100


class TestOrdering:
    def test_a_key_is_delivered_in_one_batch_at_a_time(self, world):
        job = world.subscribe(ordered=True)
        world.publish("a1", "a2", "a3", key="a")
        world.publish("b1", key="b")
        world.publish("free")
        batch = world.pull(job, 2)
        assert [d.message.draft.data for d in batch] == [b"a1", b"a2"]
        assert world.texts(job) == ["b1", "free"]
        world.ack(job, batch[:1])
        assert world.texts(job) == [], "a2 is outstanding"
        world.ack(job, batch[1:])
        assert world.texts(job) == ["a3"]

    def test_nack_takes_back_what_was_delivered_behind(self, world):
        job = world.subscribe(ordered=True)
        world.publish("a1", "a2", "a3", key="a")
        batch = world.pull(job)
        world.nack(job, batch[1:2])
        assert world.texts(job) == [], "a1 is outstanding"
        world.ack(job, batch[:1])
        assert world.texts(job) == ["a2", "a3"]

    def test_expiry_redelivers_in_order(self, world):
        job = world.subscribe(ordered=True)
        world.publish("a1", "a2", key="a")
        [first, _] = world.pull(job)
        job.modify_ack_deadline([first.ack_id], 60, world.now)
        world.later(10)
        assert world.texts(job) == [], "a2 expired but a1 is outstanding"
        world.later(50)
        assert world.texts(job) == ["a1", "a2"]

    def test_retry_policy_blocks_the_key(self, world):
        job = world.subscribe(ordered=True, retry=RetryPolicy(2 * SECOND, 2 * SECOND))
        world.publish("a1", "a2", key="a")
        world.nack(job, world.pull(job, 1))
        assert world.texts(job) == []
        world.later(2)
        assert world.texts(job) == ["a1", "a2"]

    def test_keys_do_not_matter_without_ordering(self, world):
        job = world.subscribe()
        world.publish("a1", "a2", key="a")
        assert world.texts(job, 1) == ["a1"]
        assert world.texts(job, 1) == ["a2"]

    def test_finished_keys_are_forgotten(self, world):
        job = world.subscribe(ordered=True)
        for number in range(100):
            world.publish("x", key=str(number))
        world.ack(job, world.pull(job))
        assert job._keys == {}


class TestDeadLetter:
    @pytest.fixture
    def dead(self, world):
        world.store.create_topic(DEAD, TopicSettings())
        name = "projects/crypto-local/subscriptions/dead"
        return world.store.create_subscription(name, DEAD, SubscriptionSettings())

    def test_forwards_after_the_last_attempt(self, world, dead):
        job = world.subscribe(dead_letter_topic=DEAD, max_delivery_attempts=5)
        world.publish("a")
        for attempt in range(1, 6):
            [delivery] = world.pull(job)
            assert delivery.attempt == attempt
            world.nack(job, [delivery])
        assert world.texts(job) == []
        [letter] = world.pull(dead)
        assert letter.message.draft.data == b"a"
        assert letter.message.draft.attributes == {
            "CloudPubSubDeadLetterSourceDeliveryCount": "5",
            "CloudPubSubDeadLetterSourceSubscription": "job",
            "CloudPubSubDeadLetterSourceSubscriptionProject": "crypto-local",
            "CloudPubSubDeadLetterSourceTopicPublishTime": "2023-11-14T22:13:20.000Z",
        }
        stats = job.stats(world.now)
        assert (stats.dead_lettered_messages, stats.backlog_messages) == (1, 0)

    def test_keeps_the_message_when_the_dead_letter_topic_is_gone(self, world, dead):
        job = world.subscribe(dead_letter_topic=DEAD)
        world.publish("a")
        world.store.delete_topic(DEAD)
        for _ in range(7):
            world.nack(job, world.pull(job))
        assert world.texts(job) == ["a"]
