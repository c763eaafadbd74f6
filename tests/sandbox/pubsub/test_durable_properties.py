"""Whatever is done to a store with a journal, answered or refused, the journal says what it holds.

Without a model: `test_store_properties.py` has one, for fewer kinds of change.
"""

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sandbox.pubsub.durable import DurableStore
from sandbox.pubsub.errors import StoreError, UnavailableError
from sandbox.pubsub.journal import Journal
from sandbox.pubsub.model import SECOND, Draft, RetryPolicy, SubscriptionSettings, TopicSettings
from tests.sandbox.pubsub.conftest import START, holdings, replayed


def full_names(kind, *names):
    return st.sampled_from([f"projects/crypto-local/{kind}/{name}" for name in names])


topics = full_names("topics", "one", "two")
subscriptions = full_names("subscriptions", "one", "two", "three")
snapshots = full_names("snapshots", "one", "two")
topic_settings = st.builds(
    TopicSettings, retention=st.sampled_from([None, 600 * SECOND, 3600 * SECOND])
)
subscription_settings = st.builds(
    SubscriptionSettings,
    retain_acked=st.booleans(),
    retention=st.sampled_from([600 * SECOND, 7 * 86_400 * SECOND, 31 * 86_400 * SECOND]),
    ordered=st.booleans(),
    dead_letter_topic=st.sampled_from(["", "", "projects/crypto-local/topics/two"]),
    retry=st.sampled_from([None, RetryPolicy(SECOND, SECOND)]),
)
drafts = st.lists(
    st.builds(
        Draft,
        st.sampled_from([b"a", b"b" * 100]),
        st.sampled_from([{}, {"key": "value"}]),
        st.sampled_from(["", "k1", "k2"]),
    ),
    min_size=1,
    max_size=4,
)


class RefusingJournal(Journal):
    """A journal that can be told to write nothing."""

    is_full = False

    def append(self, content):
        if self.is_full:
            raise UnavailableError("full")
        super().append(content)


class Journalled(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.folder = TemporaryDirectory()
        self.journal = RefusingJournal(Path(self.folder.name) / "journal.db")
        self.store = DurableStore(5_000, START, self.journal)
        self.now = START
        self.store.create_topic("projects/crypto-local/topics/one", TopicSettings())

    def call(self, method, *arguments):
        with contextlib.suppress(StoreError):
            getattr(self.store, method)(*arguments)

    @rule(name=topics, chosen=topic_settings)
    def create_topic(self, name, chosen):
        self.call("create_topic", name, chosen)

    @rule(name=topics, chosen=topic_settings)
    def update_topic(self, name, chosen):
        self.call("update_topic", name, chosen, self.now)

    @rule(name=topics)
    def delete_topic(self, name):
        self.call("delete_topic", name)

    @rule(name=subscriptions, topic=topics, chosen=subscription_settings)
    def create_subscription(self, name, topic, chosen):
        self.call("create_subscription", name, topic, chosen)

    @rule(name=subscriptions, chosen=subscription_settings)
    def update_subscription(self, name, chosen):
        self.call("update_subscription", name, chosen, self.now)

    @rule(name=subscriptions)
    def delete_subscription(self, name):
        self.call("delete_subscription", name)

    @rule(name=topics, some=drafts)
    def publish(self, name, some):
        self.call("publish", name, some, self.now)

    @rule(name=subscriptions, count=st.integers(1, 5), kept=st.booleans(), times=st.integers(1, 6))
    def consume(self, name, count, kept, times):
        """Acknowledge some, or refuse them so often that they become dead letters."""
        with contextlib.suppress(StoreError):
            job = self.store.subscription(name)
            for _ in range(times):
                ids = [each.ack_id for each in job.pull(self.now, count, 10**9)]
                if kept and ids:
                    self.store.acknowledge(job, ids)
                elif ids:
                    job.modify_ack_deadline(ids, 0, self.now)

    @rule(name=snapshots, subscription=subscriptions)
    def create_snapshot(self, name, subscription):
        self.call("create_snapshot", name, subscription, {"a": "b"}, self.now)

    @rule(name=snapshots)
    def delete_snapshot(self, name):
        self.call("delete_snapshot", name)

    @rule(name=subscriptions, back=st.integers(0, 4000))
    def seek_to_time(self, name, back):
        self.call("seek_to_time", name, self.now - back * SECOND, self.now)

    @rule(name=subscriptions, snapshot=snapshots)
    def seek_to_snapshot(self, name, snapshot):
        self.call("seek_to_snapshot", name, snapshot, self.now)

    @rule(seconds=st.sampled_from([1, 11, 601, 8 * 86_400]))
    def time_passes(self, seconds):
        self.now += seconds * SECOND
        self.store.expire(self.now)

    @rule(is_full=st.booleans())
    def disk(self, is_full):
        self.journal.is_full = is_full

    @rule()
    def rewrite(self):
        self.store.rewrite()

    @invariant()
    def the_journal_says_what_is_held(self):
        again = replayed(self.journal)
        again.expire(self.now)
        self.store.expire(self.now)
        assert holdings(again) == holdings(self.store)

    def teardown(self):
        if hasattr(self, "folder"):
            self.journal.close()
            self.folder.cleanup()


Journalled.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestJournalled = Journalled.TestCase
