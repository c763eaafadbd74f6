import tracemalloc

import pytest

from sandbox.pubsub.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from sandbox.pubsub.model import (
    DAY,
    MESSAGE_OVERHEAD_BYTES,
    MINUTE,
    SECOND,
    Draft,
    SubscriptionSettings,
    TopicSettings,
)
from sandbox.pubsub.store import Store
from tests.sandbox.pubsub.conftest import SNAPSHOT, SUBSCRIPTION, TOPIC, World

OTHER = "projects/crypto-local/topics/other"


class TestNames:
    def test_taken(self, world):
        world.subscribe()
        world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        with pytest.raises(AlreadyExistsError, match="Topic already exists"):
            world.store.create_topic(TOPIC, TopicSettings())
        with pytest.raises(AlreadyExistsError, match="Subscription already exists"):
            world.subscribe()
        with pytest.raises(AlreadyExistsError, match="Snapshot already exists"):
            world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)

    def test_missing(self, world):
        store = world.store
        for call in (
            lambda: store.topic(OTHER),
            lambda: store.delete_topic(OTHER),
            lambda: store.publish(OTHER, [Draft(b"x")], world.now),
            lambda: store.create_subscription(SUBSCRIPTION, OTHER, SubscriptionSettings()),
            lambda: store.subscription(SUBSCRIPTION),
            lambda: store.delete_subscription(SUBSCRIPTION),
            lambda: store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now),
            lambda: store.snapshot(SNAPSHOT),
            lambda: world.subscribe(dead_letter_topic=OTHER),
        ):
            with pytest.raises(NotFoundError):
                call()

    def test_malformed(self, world):
        for call in (
            lambda: world.store.topic("trades"),
            lambda: world.store.subscription("job"),
            lambda: world.store.snapshot("before"),
            lambda: world.store.topics("crypto-local", 0, ""),
        ):
            with pytest.raises(InvalidArgumentError):
                call()

    def test_pages_list_every_name_once(self, world):
        names = [f"projects/pages/topics/t{n:02}" for n in range(7)]
        for name in names:
            world.store.create_topic(name, TopicSettings())
        found, token = [], ""
        for _ in range(4):
            page, token = world.store.topics("projects/pages", 2, token)
            found += [topic.name for topic in page]
        assert (found, token) == (names, "")
        assert len(world.store.topics("projects/pages", 0, "")[0]) == 7
        assert world.store.topics("projects/page", 0, "") == ([], "")


class TestPublish:
    def test_each_subscription_gets_every_message(self, world):
        jobs = [world.subscribe(f"projects/crypto-local/subscriptions/job{n}") for n in range(3)]
        ids = world.publish("a", "b")
        assert len(set(ids)) == 2
        for job in jobs:
            assert world.texts(job) == ["a", "b"]
        assert world.store.topic_stats()[TOPIC].published_messages == 2

    def test_a_new_subscription_starts_empty(self, world):
        world.publish("before")
        job = world.subscribe()
        world.publish("after")
        assert world.texts(job) == ["after"]

    def test_publish_time_never_goes_back(self, world):
        job = world.subscribe()
        world.publish("a")
        world.later(-5)
        world.publish("b")
        times = [delivery.message.published_at for delivery in world.pull(job)]
        assert times == sorted(times)

    def test_ids_do_not_come_back_after_a_restart(self):
        first = Store(10**6, first_number=1_000)
        second = Store(10**6, first_number=2_000_000)
        ids = []
        for store in (first, second):
            store.create_topic(TOPIC, TopicSettings())
            ids += store.publish(TOPIC, [Draft(b"x")] * 10, 0)
        assert len(set(ids)) == 20


class TestMemory:
    def test_full_refuses_whole_requests_and_drops_nothing(self):
        world = World(max_bytes=3 * (MESSAGE_OVERHEAD_BYTES + 100))
        job = world.subscribe()
        world.publish("a" * 100, "b" * 100)
        with pytest.raises(ResourceExhaustedError, match="--max-bytes"):
            world.publish("c" * 100, "d" * 100)
        world.publish("e" * 100)
        batch = world.pull(job)
        assert [d.message.draft.data[:1] for d in batch] == [b"a", b"b", b"e"]
        world.ack(job, batch)
        assert world.store.pool.bytes == 0
        world.publish("f")

    def test_full_makes_room_by_age_first(self):
        world = World(max_bytes=MESSAGE_OVERHEAD_BYTES + 10)
        job = world.subscribe(retention=10 * MINUTE)
        world.publish("old")
        world.later(601)
        world.publish("new")
        assert world.texts(job) == ["new"]

    def test_a_topic_nobody_reads_holds_nothing(self, world):
        world.publish("a")
        assert world.store.pool.bytes == 0

    def test_every_holder_lets_go(self, world):
        world.store.update_topic(TOPIC, TopicSettings(retention=10 * MINUTE), world.now)
        job = world.subscribe(retain_acked=True)
        world.publish("a", "b")
        world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        world.publish("c")
        world.ack(job, world.pull(job, 2))
        assert world.store.pool.bytes == 3 * (MESSAGE_OVERHEAD_BYTES + 1)
        world.store.delete_subscription(SUBSCRIPTION)
        world.store.delete_snapshot(SNAPSHOT)
        assert world.store.pool.bytes == 3 * (MESSAGE_OVERHEAD_BYTES + 1)
        world.store.delete_topic(TOPIC)
        assert world.store.pool.bytes == 0

    def test_the_overhead_covers_a_message(self, world):
        world.store.pool.max_bytes = 10**9
        world.subscribe()
        count = 2000
        tracemalloc.start()
        try:
            drafts = [Draft(b"", {"k": str(n)}) for n in range(count)]
            for start in range(0, count, 1000):
                world.store.publish(TOPIC, drafts[start : start + 1000], world.now)
            used, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert used / count < MESSAGE_OVERHEAD_BYTES


class TestSeek:
    def test_back_in_time_redelivers_retained_acknowledged_messages(self, world):
        job = world.subscribe(retain_acked=True)
        world.publish("a")
        world.later(1)
        between = world.now
        world.publish("b", "c")
        world.ack(job, world.pull(job))
        world.store.seek_to_time(SUBSCRIPTION, between, world.now)
        assert world.texts(job) == ["b", "c"]
        world.store.seek_to_time(SUBSCRIPTION, 0, world.now)
        assert world.texts(job) == ["a", "b", "c"]

    def test_back_in_time_without_retention_keeps_the_backlog_only(self, world):
        job = world.subscribe()
        world.publish("a", "b")
        world.ack(job, world.pull(job, 1))
        world.store.seek_to_time(SUBSCRIPTION, 0, world.now)
        assert world.texts(job) == ["b"]

    def test_forward_acknowledges_and_ends_leases(self, world):
        job = world.subscribe()
        world.publish("a", "b")
        leased = world.pull(job, 1)
        world.later(1)
        world.store.seek_to_time(SUBSCRIPTION, world.now, world.now)
        world.publish("c")
        world.nack(job, leased)
        assert world.texts(job) == ["c"]

    def test_forward_then_back(self, world):
        job = world.subscribe(retain_acked=True)
        world.publish("a")
        world.store.seek_to_time(SUBSCRIPTION, world.now + SECOND, world.now)
        assert world.texts(job) == []
        world.store.seek_to_time(SUBSCRIPTION, 0, world.now)
        assert world.texts(job) == ["a"]

    def test_topic_retention_reaches_behind_the_subscription(self, world):
        world.store.update_topic(TOPIC, TopicSettings(retention=10 * MINUTE), world.now)
        world.publish("too old")
        world.later(1)
        world.publish("before")
        world.later(600)
        job = world.subscribe()
        assert world.texts(job) == []
        world.store.seek_to_time(SUBSCRIPTION, 0, world.now)
        assert world.texts(job) == ["before"]

    def test_retention_ends_the_reach(self, world):
        job = world.subscribe(retain_acked=True, retention=10 * MINUTE)
        world.publish("a")
        world.ack(job, world.pull(job))
        world.later(601)
        world.store.seek_to_time(SUBSCRIPTION, 0, world.now)
        assert world.texts(job) == []

    def test_snapshot_restores_the_backlog_and_what_came_later(self, world):
        job = world.subscribe()
        world.publish("a", "b")
        world.ack(job, world.pull(job, 1))
        world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        world.publish("c")
        world.ack(job, world.pull(job))
        world.store.seek_to_snapshot(SUBSCRIPTION, SNAPSHOT, world.now)
        assert world.texts(job) == ["b", "c"]

    def test_snapshot_acknowledges_what_it_does_not_hold(self, world):
        job = world.subscribe(retain_acked=True)
        other = world.subscribe("projects/crypto-local/subscriptions/other")
        world.publish("a", "b")
        world.ack(other, world.pull(other, 1))
        world.store.create_snapshot(SNAPSHOT, other.name, {}, world.now)
        world.store.seek_to_snapshot(SUBSCRIPTION, SNAPSHOT, world.now)
        assert world.texts(job) == ["b"]
        world.store.seek_to_time(SUBSCRIPTION, 0, world.now)
        assert world.texts(job) == ["a", "b"]

    def test_snapshot_of_another_topic_is_refused(self, world):
        world.subscribe()
        world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        world.store.delete_topic(TOPIC)
        world.store.create_topic(TOPIC, TopicSettings())
        name = "projects/crypto-local/subscriptions/again"
        world.subscribe(name)
        with pytest.raises(FailedPreconditionError, match="counts as another"):
            world.store.seek_to_snapshot(name, SNAPSHOT, world.now)

    def test_snapshots_expire(self, world):
        world.subscribe()
        world.publish("a")
        world.later(DAY // SECOND)
        snapshot = world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        assert snapshot.expires_at == world.now + 6 * DAY
        world.later(6 * DAY // SECOND)
        world.store.expire(world.now)
        with pytest.raises(NotFoundError):
            world.store.snapshot(SNAPSHOT)


class TestDeletion:
    def test_subscription_outlives_its_topic(self, world):
        job = world.subscribe()
        world.publish("a")
        world.store.delete_topic(TOPIC)
        world.store.create_topic(TOPIC, TopicSettings())
        world.publish("b")
        assert world.texts(job) == ["a"]
        assert job.stats(world.now).topic == "_deleted-topic_"
        with pytest.raises(FailedPreconditionError, match="topic is deleted"):
            world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        world.store.delete_subscription(SUBSCRIPTION)

    def test_deleted_subscription_receives_nothing(self, world):
        job = world.subscribe()
        world.publish("a")
        world.store.delete_subscription(SUBSCRIPTION)
        world.publish("b")
        assert job.deleted
        assert world.texts(job) == []
        assert world.store.pool.bytes == 0


def test_expire_names_who_has_something(world):
    job = world.subscribe()
    world.subscribe("projects/crypto-local/subscriptions/idle", ack_deadline_seconds=600)
    world.publish("a")
    for subscription in (job, world.store.subscription("projects/crypto-local/subscriptions/idle")):
        world.pull(subscription)
    assert world.store.expire(world.now) == []
    world.later(10)
    assert world.store.expire(world.now) == [job]


def test_statistics(world):
    job = world.subscribe(retain_acked=True)
    world.publish("a", "bc", "d")
    world.later(2)
    world.ack(job, world.pull(job, 2)[1:])
    [(name, stats)] = world.store.subscription_stats(world.now).items()
    assert name == SUBSCRIPTION
    assert (stats.received_messages, stats.delivered_messages, stats.acked_messages) == (3, 2, 1)
    assert (stats.backlog_messages, stats.outstanding_messages) == (2, 1)
    assert (stats.retained_acked_messages, stats.oldest_unacked_age_seconds) == (1, 2.0)
    assert world.store.topic_stats()[TOPIC].published_bytes == 4
