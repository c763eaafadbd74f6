"""What must hold whatever publishers, subscribers and time do to the store.

A model beside the store keeps, for every subscription, the set of messages that are not
acknowledged and the one ack id of each that counts. The same must hold for a store with a journal,
whose process ends now and then.
"""

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sandbox.pubsub.durable import DurableStore
from sandbox.pubsub.journal import Journal
from sandbox.pubsub.model import SECOND, RetryPolicy, State
from sandbox.pubsub.store import Store
from tests.sandbox.pubsub.conftest import World, holdings, killed, replayed

NAMES = {
    "plain": {},
    "ordered": {"ordered": True},
    "retaining": {"retain_acked": True},
    "both": {"ordered": True, "retain_acked": True},
    "retrying": {"ordered": True, "retry": RetryPolicy(SECOND, 4 * SECOND)},
}


def full_name(name):
    return f"projects/crypto-local/subscriptions/{name}"


names = st.sampled_from(sorted(NAMES))
picks = st.lists(st.integers(0, 12), min_size=1, max_size=6)


class PubSub(RuleBasedStateMachine):
    def make_store(self):
        return Store(10_000_000, first_number=1)

    @initialize()
    def start(self):
        self.world = World(store=self.make_store())
        self.jobs = {
            name: self.world.subscribe(full_name(name), **chosen) for name, chosen in NAMES.items()
        }
        self.received_before = dict.fromkeys(NAMES, 0)  # in earlier lives of the process
        self.delivered_before = dict.fromkeys(NAMES, 0)
        self.published = {}  # message id -> (publish time, ordering key), in publish order
        self.unacked = {name: set() for name in NAMES}
        self.current = {name: {} for name in NAMES}  # message id -> the ack id that counts
        self.history = {name: [] for name in NAMES}  # every delivery ever made
        self.delivered = {name: set() for name in NAMES}
        self.wanted_snapshot = None
        self.sought = set()

    @rule(keys=st.lists(st.sampled_from(["", "", "k1", "k2"]), min_size=1, max_size=8))
    def publish(self, keys):
        for key in keys:
            [message_id] = self.world.publish("x", key=key)
            self.published[message_id] = (self.world.now, key)
            for name in NAMES:
                self.unacked[name].add(message_id)
            if self.wanted_snapshot is not None:
                self.wanted_snapshot.add(message_id)

    @rule(name=names, count=st.integers(1, 10))
    def pull(self, name, count):
        batch = self.world.pull(self.jobs[name], count)
        if NAMES[name].get("ordered"):
            self.check_order(name, batch)
        for delivery in batch:
            message_id = delivery.message.message_id
            assert message_id in self.unacked[name], "delivered after its acknowledgement"
            self.current[name][message_id] = delivery.ack_id
            self.delivered[name].add(message_id)
        self.history[name] += batch

    def check_order(self, name, batch):
        by_key = defaultdict(list)
        for delivery in batch:
            if key := delivery.message.draft.ordering_key:
                by_key[key].append(delivery.message.message_id)
        for key, ids in by_key.items():
            waiting = [
                message_id
                for message_id, (_, its_key) in self.published.items()
                if its_key == key and message_id in self.unacked[name]
            ]
            assert ids == waiting[: len(ids)], "a predecessor was passed over"

    @precondition(lambda self: any(self.history.values()))
    @rule(name=names, indexes=picks)
    def acknowledge(self, name, indexes):
        chosen = self.choose(name, indexes)
        if not chosen:
            return
        self.world.ack(self.jobs[name], chosen)
        for delivery in chosen:
            message_id = delivery.message.message_id
            if self.current[name].get(message_id) == delivery.ack_id:
                self.unacked[name].discard(message_id)
                del self.current[name][message_id]

    @precondition(lambda self: any(self.history.values()))
    @rule(name=names, indexes=picks)
    def refuse(self, name, indexes):
        chosen = self.choose(name, indexes)
        if not chosen:
            return
        job = self.jobs[name]
        job.expire(self.world.now)
        for delivery in chosen:
            message_id = delivery.message.message_id
            leased = self.leased(job)
            self.world.nack(job, [delivery])
            if self.current[name].get(message_id) == delivery.ack_id and message_id in leased:
                del self.current[name][message_id]

    @rule(seconds=st.sampled_from([0.5, 3, 9.5, 11]))
    def time_passes(self, seconds):
        self.world.later(seconds)

    @rule(name=names, back=st.integers(0, 40))
    def seek(self, name, back):
        at = self.world.now - back * SECOND
        self.world.store.seek_to_time(self.jobs[name].name, at, self.world.now)
        retains = NAMES[name].get("retain_acked")
        wanted = set(self.published) if retains else self.unacked[name]
        self.after_seek(name, {m for m in wanted if self.published[m][0] >= at})

    @precondition(lambda self: self.wanted_snapshot is None)
    @rule(name=names)
    def take_snapshot(self, name):
        self.world.store.create_snapshot(
            "projects/crypto-local/snapshots/one", self.jobs[name].name, {}, self.world.now
        )
        self.wanted_snapshot = set(self.unacked[name])

    @precondition(lambda self: self.wanted_snapshot is not None)
    @rule(name=names)
    def seek_to_snapshot(self, name):
        self.world.store.seek_to_snapshot(
            self.jobs[name].name, "projects/crypto-local/snapshots/one", self.world.now
        )
        self.after_seek(name, set(self.wanted_snapshot))

    def after_seek(self, name, unacked):
        self.unacked[name] = unacked
        self.current[name].clear()
        self.sought.add(name)

    def choose(self, name, indexes):
        history = self.history[name]
        return [history[-1 - index] for index in dict.fromkeys(indexes) if index < len(history)]

    @staticmethod
    def leased(job):
        entries = job._unacked.values()
        return {e.message.message_id for e in entries if e.state is State.LEASED}

    @invariant()
    def backlog_is_what_the_model_says(self):
        for name, job in self.jobs.items():
            ids = [message.message_id for message in job.unacked_messages()]
            assert ids == [m for m in self.published if m in self.unacked[name]]

    @invariant()
    def statistics_add_up(self):
        for name, job in self.jobs.items():
            stats = job.stats(self.world.now)
            assert stats.backlog_messages == len(self.unacked[name])
            assert stats.outstanding_messages == len(self.leased(job))
            assert stats.delivered_messages == len(self.history[name]) - self.delivered_before[name]
            assert stats.received_messages == len(self.published) - self.received_before[name]
            if name not in self.sought:
                assert stats.received_messages == stats.acked_messages + stats.backlog_messages

    @invariant()
    def memory_is_accounted_for(self):
        held = {
            message.message_id: message.size
            for job in self.jobs.values()
            for message in [*job.unacked_messages(), *job.retained_messages()]
        }
        if self.wanted_snapshot is not None:
            log = self.world.store.snapshot("projects/crypto-local/snapshots/one").log
            held |= {message.message_id: message.size for message in log.messages()}
        assert self.world.store.pool.bytes == sum(held.values())

    def teardown(self):
        """Everything still unacknowledged arrives, once, in order within its key."""
        if not hasattr(self, "world"):
            return
        self.world.later(1000)
        self.world.store.expire(self.world.now)  # leases end, retry waits begin
        self.world.later(1000)
        for name, job in self.jobs.items():
            expected = set(self.unacked[name])
            seen = []
            while batch := self.world.pull(job, 3):
                if NAMES[name].get("ordered"):
                    self.check_order(name, batch)
                seen += [delivery.message.message_id for delivery in batch]
                self.world.ack(job, batch)
                self.unacked[name] -= set(seen)
            assert sorted(seen) == sorted(expected)
            stats = job.stats(self.world.now)
            assert (stats.backlog_messages, stats.outstanding_messages) == (0, 0)
            assert (job._ready, job._keys, job._leases) == ([], {}, {})


class DurablePubSub(PubSub):
    def make_store(self):
        self.folder = TemporaryDirectory()
        self.first_number = 1
        self.journal = Journal(Path(self.folder.name) / "journal.db")
        return DurableStore(10_000_000, self.first_number, self.journal)

    @rule(passed=st.sampled_from([0, 1, 1_000_000]))
    def is_killed_and_begins_again(self, passed):
        left = killed(self.journal)
        self.journal.close()
        self.first_number += passed
        self.journal = left
        self.world.store = DurableStore(10_000_000, self.first_number, self.journal)
        self.jobs = {name: self.world.store.subscription(full_name(name)) for name in NAMES}
        for name in NAMES:
            self.current[name].clear()
            self.received_before[name] = len(self.published) - len(self.unacked[name])
            self.delivered_before[name] = len(self.history[name])
        self.sought.clear()

    @rule()
    def rewrite(self):
        self.world.store.rewrite()

    @invariant()
    def the_journal_says_what_is_held(self):
        assert holdings(replayed(self.journal)) == holdings(self.world.store)

    @invariant()
    def no_id_comes_twice(self):
        ids = [d.ack_id for name in NAMES for d in self.history[name]]
        assert len(ids) == len(set(ids))

    def teardown(self):
        super().teardown()
        if hasattr(self, "folder"):
            self.journal.close()
            self.folder.cleanup()


PubSub.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestPubSub = PubSub.TestCase
DurablePubSub.TestCase.settings = settings(PubSub.TestCase.settings, max_examples=100)
TestDurablePubSub = DurablePubSub.TestCase
