"""What a store with a journal knows after a restart, change by change.

`test_durable_properties.py` has the interleavings, `test_durable_process.py` kills a process.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from sandbox.pubsub.durable import SMALL_JOURNAL_BYTES, DurableStore
from sandbox.pubsub.errors import (
    ResourceExhaustedError,
    UnavailableError,
)
from sandbox.pubsub.journal import Journal, JournalError
from sandbox.pubsub.model import (
    DEFAULT_RETENTION,
    SECOND,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
)
from sandbox.pubsub.records import LifeBegan, TopicDeleted, encode
from tests.sandbox.pubsub.conftest import (
    SNAPSHOT,
    START,
    SUBSCRIPTION,
    TOPIC,
    World,
    holdings,
    replayed,
)

DEAD = "projects/crypto-local/topics/dead"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def world(journal: Journal) -> World:
    return World(store=DurableStore(10_000_000, START, journal))


@pytest.fixture(params=["as written", "rewritten"])
def held(request: pytest.FixtureRequest, world: World) -> Callable[[], dict[str, object]]:
    """Returns what a store knows after a restart, which must be what the running one does."""

    def check() -> dict[str, object]:
        store = world.store
        assert isinstance(store, DurableStore)
        if request.param == "rewritten":
            store.rewrite()
        found = holdings(replayed(store._journal))
        assert found == holdings(store)
        return found

    return check


class TestEveryChange:
    def test_settings_of_all_kinds(self, world: World, held) -> None:
        world.store.create_topic(DEAD, TopicSettings({"a": "b"}, 600 * SECOND))
        world.subscribe(
            ordered=True,
            retain_acked=True,
            retry=RetryPolicy(SECOND, 2 * SECOND),
            dead_letter_topic=DEAD,
            labels={"team": "data"},
            expiration_ttl=86_400 * SECOND,
        )
        world.publish("a", "b", key="k")
        held()

    def test_updates(self, world: World, held) -> None:
        job = world.subscribe(retain_acked=True)
        world.publish("a", "b")
        world.ack(job, world.pull(job, 1))
        world.store.update_topic(TOPIC, TopicSettings({"a": "b"}, 3600 * SECOND), world.now)
        world.publish("c")
        world.store.update_subscription(SUBSCRIPTION, SubscriptionSettings(), world.now)
        held()

    def test_an_update_of_a_topic_brings_nothing_back(self, world: World, held) -> None:
        world.store.update_topic(TOPIC, TopicSettings(retention=600 * SECOND), world.now)
        world.publish("a")
        world.later(601)
        world.store.expire(world.now)
        world.store.update_topic(TOPIC, TopicSettings(retention=3600 * SECOND), world.now)
        held()
        assert world.topic.log.messages() == []

    def test_an_update_brings_nothing_back_that_retention_had_dropped(self, world, held) -> None:
        job = world.subscribe(retention=600 * SECOND)
        world.publish("a")
        world.later(601)
        world.store.expire(world.now)
        world.store.update_subscription(SUBSCRIPTION, SubscriptionSettings(), world.now)
        held()
        assert job.unacked_messages() == []

    def test_deletions(self, world: World, held) -> None:
        world.subscribe()
        other = world.subscribe("projects/crypto-local/subscriptions/other")
        world.publish("a")
        world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {"why": "deploy"}, world.now)
        world.store.delete_snapshot(SNAPSHOT)
        world.store.delete_subscription(other.name)
        held()

    def test_a_deleted_topic_and_a_new_one_of_its_name(self, world: World, held) -> None:
        world.subscribe()
        world.publish("a")
        world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        world.store.delete_topic(TOPIC)
        world.store.create_topic(TOPIC, TopicSettings())
        world.publish("b")
        world.subscribe("projects/crypto-local/subscriptions/new")
        world.publish("c")
        held()

    def test_what_the_topic_itself_retains(self, world: World, held) -> None:
        world.store.update_topic(TOPIC, TopicSettings(retention=600 * SECOND), world.now)
        world.publish("a")
        world.later(400)
        world.publish("b")
        world.later(400)
        world.store.expire(world.now)
        world.publish("c")
        job = world.subscribe()
        world.store.seek_to_time(SUBSCRIPTION, START, world.now)
        assert world.texts(job) == ["b", "c"]
        restarted = held()
        assert len(restarted["subscriptions"][SUBSCRIPTION][-2]) == 2

    def test_both_seeks(self, world: World, held) -> None:
        job = world.subscribe(retain_acked=True)
        world.publish("a", "b")
        world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        world.ack(job, world.pull(job))
        world.later(1)
        world.publish("c")
        world.store.seek_to_time(SUBSCRIPTION, world.now, world.now)
        assert [m.draft.data for m in job.unacked_messages()] == [b"c"]
        held()
        world.ack(job, world.pull(job))
        world.store.seek_to_snapshot(SUBSCRIPTION, SNAPSHOT, world.now)
        assert [m.draft.data for m in job.unacked_messages()] == [b"a", b"b", b"c"]
        held()

    def test_a_snapshot_expires_and_another_takes_its_name(self, world: World, held) -> None:
        job = world.subscribe()
        world.publish("old")
        world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        world.ack(job, world.pull(job))
        world.now += DEFAULT_RETENTION
        world.publish("new")
        world.store.create_snapshot(SNAPSHOT, SUBSCRIPTION, {}, world.now)
        [message] = world.store.snapshot(SNAPSHOT).log.messages()
        assert message.draft.data == b"new"
        held()

    def test_dead_letters(self, world: World, held) -> None:
        world.store.create_topic(DEAD, TopicSettings())
        job = world.subscribe(dead_letter_topic=DEAD, retain_acked=True)
        world.store.create_subscription(f"{SUBSCRIPTION}-dead", DEAD, SubscriptionSettings())
        world.publish("bad", "good")
        for _ in range(5):
            world.nack(job, world.pull(job, 1))
        restarted = held()
        assert [len(each[-2]) for each in restarted["subscriptions"].values()] == [1, 1]
        assert len(restarted["subscriptions"][SUBSCRIPTION][-1]) == 0, "not acknowledged"


def changes(world: World) -> dict[str, Callable[[], object]]:
    """Return a call for each kind of change, in an order in which all of them are possible."""
    store = world.store
    job = f"{SUBSCRIPTION}-2"

    def lease() -> list[str]:
        return [each.ack_id for each in world.pull(store.subscription(job))]

    return {
        "create topic": lambda: store.create_topic(DEAD, TopicSettings()),
        "update topic": lambda: store.update_topic(DEAD, TopicSettings({"a": "b"}), world.now),
        "create": lambda: store.create_subscription(job, TOPIC, SubscriptionSettings()),
        "update": lambda: store.update_subscription(
            job, SubscriptionSettings(dead_letter_topic=DEAD, retain_acked=True), world.now
        ),
        "publish": lambda: world.publish("a", "b"),
        "snapshot": lambda: store.create_snapshot(SNAPSHOT, job, {}, world.now),
        "acknowledge": lambda: store.acknowledge(store.subscription(job), lease()),
        "seek to snapshot": lambda: store.seek_to_snapshot(job, SNAPSHOT, world.now),
        "seek": lambda: store.seek_to_time(job, world.now + 1, world.now),
        "delete snapshot": lambda: store.delete_snapshot(SNAPSHOT),
        "delete": lambda: store.delete_subscription(job),
        "delete topic": lambda: store.delete_topic(DEAD),
    }


@pytest.mark.parametrize("refused", range(12))
def test_a_change_that_cannot_be_written_is_not_made(
    world: World, held, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    def refuse(content: bytes) -> None:
        raise UnavailableError("full")

    calls = [*changes(world).values()]
    assert len(calls) == 12
    for call in calls[:refused]:
        call()
    before = held()
    with monkeypatch.context() as patch:
        patch.setattr(world.store._journal, "append", refuse)
        with pytest.raises(UnavailableError):
            calls[refused]()
    assert held() == before
    world.later(11)  # what a refused acknowledgement was for is leased again
    world.store.expire(world.now)
    for call in calls[refused:]:
        call()
        after = held()
        assert after != before
        before = after


class TestANewLife:
    def restarted(self, world: World, first_number: int = START) -> DurableStore:
        journal = world.store._journal
        journal.close()
        world.store = DurableStore(10_000_000, first_number, Journal(journal.path))
        return world.store

    def test_leases_end_and_old_ack_ids_mean_nothing(self, world: World) -> None:
        job = world.subscribe()
        world.publish("a", "b", "c")
        old = world.pull(job)
        store = self.restarted(world)
        job = store.subscription(SUBSCRIPTION)
        assert world.texts(job) == ["a", "b", "c"]
        store.acknowledge(job, [delivery.ack_id for delivery in old])
        assert len(job.unacked_messages()) == 3
        store._journal.close()

    def test_time_goes_on_from_the_latest_change(self, world: World) -> None:
        world.later(10)
        world.publish("a")
        world.store.rewrite()
        assert self.restarted(world).latest == world.now == START + 10 * SECOND
        assert self.restarted(world, START + 11 * SECOND).latest == START + 11 * SECOND
        world.store._journal.close()

    @pytest.mark.parametrize("clock", [START - 3600 * SECOND, START, START + 1])
    def test_no_id_comes_again_even_when_the_clock_is_set_back(self, world, clock) -> None:
        world.subscribe()
        ids, acks = [], []
        for _ in range(3):
            ids += world.publish("x", "y")
            store = world.store
            acks += [d.ack_id for d in world.pull(store.subscription(SUBSCRIPTION))]
            self.restarted(world, clock)
        assert len(ids) == len(set(ids)) == 6
        assert len(acks) == len(set(acks)) == 2 + 4 + 6
        world.store._journal.close()

    def test_more_than_the_limit_is_kept_and_publishers_wait(self, world: World) -> None:
        job = world.subscribe()
        world.publish(*["x" * 1000] * 20)
        journal = world.store._journal
        journal.close()
        store = world.store = DurableStore(10_000, START, Journal(journal.path))
        job = store.subscription(SUBSCRIPTION)
        with pytest.raises(ResourceExhaustedError):
            world.publish("more")
        world.ack(job, world.pull(job))
        world.publish("more")
        store._journal.close()

    @pytest.mark.parametrize(
        ("record", "reason"),
        [(b"\xc1", "malformed"), (encode(TopicDeleted(DEAD)), "Topic not found")],
    )
    def test_a_damaged_journal_is_refused_by_name(self, world: World, record, reason) -> None:
        world.store._journal.append(record)
        expected = rf"--journal .*journal\.db: record 3 does not fit: .*{reason}.*remove the file"
        with pytest.raises(JournalError, match=re.compile(expected, re.IGNORECASE)):
            self.restarted(world)

    def test_a_damaged_file_is_refused_by_name(self, world: World) -> None:
        world.publish("x" * 100_000)
        journal = world.store._journal
        journal.close()
        with journal.path.open("r+b") as file:
            file.seek(3 * 16384)  # among the pages of the message
            file.write(b"\xff" * 16384)
        with pytest.raises(JournalError, match=r"--journal .*: (record|database).*remove"):
            DurableStore(10**6, START, damaged := Journal(journal.path))
        damaged.close()

    def test_a_life_that_cannot_be_written_does_not_begin(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(content: bytes) -> None:
            raise UnavailableError("the journal cannot be written")

        monkeypatch.setattr(journal, "append", refuse)
        with pytest.raises(JournalError, match="the journal cannot be written"):
            DurableStore(10**6, START, journal)

    def test_the_first_record_is_the_beginning(self, journal: Journal) -> None:
        DurableStore(10**6, START, journal)
        assert [*journal.read()] == [encode(LifeBegan(START, START))]


class TestSize:
    def test_it_is_rewritten_when_it_is_twice_as_large_as_what_is_held(self, world: World) -> None:
        job = world.subscribe()
        journal, largest = world.store._journal, 0
        for _ in range(30):
            world.publish(*["x" * 1_000_000] * 9)
            world.ack(job, world.pull(job))
            world.later(1)
            world.store.expire(world.now)
            largest = max(largest, journal.size)
        assert largest < SMALL_JOURNAL_BYTES + 10_000_000
        assert holdings(replayed(journal)) == holdings(world.store)

    def test_messages_are_cut_into_records_of_a_megabyte(self, world: World) -> None:
        world.subscribe()
        world.publish(*["x" * 400_000] * 8)
        world.store.rewrite()
        assert max(map(len, world.store._journal.read())) < 1_500_000
        assert holdings(replayed(world.store._journal)) == holdings(world.store)

    def test_a_full_disk_refuses_what_it_cannot_keep(self, world: World) -> None:
        job = world.subscribe()
        world.publish("kept")
        database = world.store._journal._database
        [pages] = database.execute("pragma page_count").fetchone()
        database.execute(f"pragma max_page_count={pages}")
        with pytest.raises(UnavailableError, match="make room on its disk"):
            world.publish("x" * 1_000_000)
        assert world.texts(job) == ["kept"]
        assert holdings(replayed(world.store._journal)) == holdings(world.store)

    def test_a_rewriting_that_fails_is_tried_again_later(self, world: World, monkeypatch) -> None:
        def refuse(contents: Iterable[bytes]) -> None:
            raise UnavailableError("full")

        job, journal = world.subscribe(), world.store._journal
        with monkeypatch.context() as patch:
            patch.setattr(journal, "replace", refuse)
            while journal.size <= SMALL_JOURNAL_BYTES:
                world.publish(*["x" * 1_000_000] * 9)
                world.ack(job, world.pull(job))
            world.publish("kept")
            assert world.store.expire(world.now) == [job], "time goes on"
        while journal.size > SMALL_JOURNAL_BYTES:
            world.publish(*["x" * 1_000_000] * 9)
            world.store.expire(world.now)
            world.ack(job, world.pull(job))
        assert holdings(replayed(journal)) == holdings(world.store)

    def test_dead_letters_wait_for_room(self, world: World) -> None:
        world.store.create_topic(DEAD, TopicSettings())
        job = world.subscribe(dead_letter_topic=DEAD)
        world.publish("x" * 100_000)
        database = world.store._journal._database
        [pages] = database.execute("pragma page_count").fetchone()
        database.execute(f"pragma max_page_count={pages}")
        for _ in range(6):
            world.nack(job, world.pull(job))
        assert len(job.unacked_messages()) == 1
        database.execute("pragma max_page_count=100000")
        world.nack(job, world.pull(job))
        assert job.unacked_messages() == []
        assert holdings(replayed(world.store._journal)) == holdings(world.store)
