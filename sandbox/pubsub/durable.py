"""A store whose state outlives the process: every change is in the journal before it is answered.

Called like `store.Store`, by the same layers. After a kill it knows every topic, subscription,
snapshot and message that a client was told of, and every acknowledgement. What was leased is
delivered again; how often a message was delivered, which decides on dead letters, counts anew.

The journal is rewritten when it has become twice as large as what is held, so `max_bytes` bounds
the disk too. That takes as long as writing all of it, and nobody is served meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from sandbox.pubsub.errors import ResourceExhaustedError, StoreError
from sandbox.pubsub.journal import Journal, JournalError
from sandbox.pubsub.model import (
    MESSAGE_OVERHEAD_BYTES,
    Draft,
    Entry,
    Message,
    SubscriptionSettings,
    TopicSettings,
)
from sandbox.pubsub.records import (
    KeptMessage,
    LifeBegan,
    MessagesKept,
    Published,
    Record,
    Settled,
    SnapshotCreated,
    SnapshotDeleted,
    SnapshotKept,
    SoughtSnapshot,
    SoughtTime,
    SubscriptionCreated,
    SubscriptionDeleted,
    SubscriptionKept,
    SubscriptionUpdated,
    TopicCreated,
    TopicDeleted,
    TopicKept,
    TopicUpdated,
    decode,
    encode,
)
from sandbox.pubsub.store import Store, in_order
from sandbox.pubsub.subscription import Subscription
from sandbox.pubsub.topic import MessageLog, Snapshot, Topic

SMALL_JOURNAL_BYTES: Final = 64 * 1024 * 1024
"""A journal up to this size is not worth rewriting."""

_MESSAGES_A_RECORD: Final = 100

_LEASES_A_LIFE: Final = 1_000_000_000
"""More than any process hands out: its ack ids are not those of the next, even if the clock is set
back."""


class DurableStore(Store):
    """A store that begins with what the journal says, and goes on writing it.

    Args:
        max_bytes, first_number: see `Store`. A journal that holds more than `max_bytes` is taken
            as it is; publishers wait until there is room.
        journal: of this store's earlier lives, or empty.

    Raises:
        JournalError: the journal is damaged.
    """

    def __init__(self, max_bytes: int, first_number: int, journal: Journal) -> None:
        super().__init__(max_bytes, first_number=0)
        self._journal = journal
        self._rewrite_at = SMALL_JOURNAL_BYTES
        self._is_playing = True
        self._restored_messages: list[dict[int, Message]] = []
        self._restored_topics: list[Topic] = []
        for position, content in enumerate(journal.read(), 1):
            self._play(position, content)
        self._restored_messages, self._restored_topics = [], []
        self._is_playing = False
        self.begin_life(max(first_number, self._number + _LEASES_A_LIFE))
        self._write(LifeBegan(self._number))

    def begin_life(self, number: int) -> None:
        """Count ids and leases on from `number`: none of an earlier life comes again."""
        self._number = number
        for subscription in self._subscriptions.values():
            subscription.begin_life(number)

    def _play(self, position: int, content: bytes) -> None:
        try:
            decode(content).play(self)
        except (msgspec.MsgspecError, StoreError, LookupError) as error:
            raise JournalError(
                f"--journal {self._journal.path}: record {position} does not fit: {error!r}; "
                "remove the file to begin empty"
            ) from error

    def _write(self, record: Record) -> None:
        if not self._is_playing:
            self._journal.append(encode(record))

    # -- changes -------------------------------------------------------------------------------

    def create_topic(self, name: str, settings: TopicSettings) -> Topic:
        """See `Store.create_topic`."""
        topic = super().create_topic(name, settings)
        self._write(TopicCreated(name, settings))
        return topic

    def update_topic(self, name: str, settings: TopicSettings, now: int) -> Topic:
        """See `Store.update_topic`."""
        topic = super().update_topic(name, settings, now)
        self._write(TopicUpdated(name, settings, now))
        return topic

    def delete_topic(self, name: str) -> None:
        """See `Store.delete_topic`."""
        super().delete_topic(name)
        self._write(TopicDeleted(name))

    def append(self, name: str, drafts: Sequence[Draft], now: int) -> None:
        """Accept messages again that were accepted before, whatever the limit is now."""
        self._append(self.topic(name), drafts, now)

    def _append(self, topic: Topic, drafts: Sequence[Draft], now: int) -> list[str]:
        self._write(Published(topic.name, drafts, now))
        return super()._append(topic, drafts, now)

    def create_subscription(
        self, name: str, topic_name: str, settings: SubscriptionSettings
    ) -> Subscription:
        """See `Store.create_subscription`."""
        subscription = super().create_subscription(name, topic_name, settings)
        self._write(SubscriptionCreated(name, topic_name, settings))
        return subscription

    def update_subscription(
        self, name: str, settings: SubscriptionSettings, now: int
    ) -> Subscription:
        """See `Store.update_subscription`."""
        subscription = super().update_subscription(name, settings, now)
        self._write(SubscriptionUpdated(name, settings, now))
        return subscription

    def delete_subscription(self, name: str) -> Subscription:
        """See `Store.delete_subscription`."""
        subscription = super().delete_subscription(name)
        self._write(SubscriptionDeleted(name))
        return subscription

    def acknowledge(self, subscription: Subscription, ack_ids: Sequence[str]) -> list[int]:
        """See `Store.acknowledge`."""
        sequences = super().acknowledge(subscription, ack_ids)
        if sequences:
            self._write(Settled(subscription.name, sequences, is_acknowledged=True))
        return sequences

    def settle(self, name: str, sequences: Sequence[int], is_acknowledged: bool) -> None:
        """See `Subscription.settle`."""
        self.subscription(name).settle(sequences, is_acknowledged)

    def _dead_letter(self, subscription: Subscription, entry: Entry, now: int) -> bool:
        if not super()._dead_letter(subscription, entry, now):
            return False
        with contextlib.suppress(ResourceExhaustedError):  # after a kill it is forwarded again
            sequences = [entry.message.sequence]
            self._write(Settled(subscription.name, sequences, is_acknowledged=False))
        return True

    def create_snapshot(
        self, name: str, subscription_name: str, labels: Mapping[str, str], now: int
    ) -> Snapshot:
        """See `Store.create_snapshot`."""
        snapshot = super().create_snapshot(name, subscription_name, labels, now)
        self._write(SnapshotCreated(name, subscription_name, labels, now))
        return snapshot

    def delete_snapshot(self, name: str) -> None:
        """See `Store.delete_snapshot`."""
        super().delete_snapshot(name)
        self._write(SnapshotDeleted(name))

    def seek_to_time(self, name: str, at: int, now: int) -> Subscription:
        """See `Store.seek_to_time`."""
        subscription = super().seek_to_time(name, at, now)
        self._write(SoughtTime(name, at, now))
        return subscription

    def seek_to_snapshot(self, name: str, snapshot_name: str, now: int) -> Subscription:
        """See `Store.seek_to_snapshot`."""
        subscription = super().seek_to_snapshot(name, snapshot_name, now)
        self._write(SoughtSnapshot(name, snapshot_name, now))
        return subscription

    # -- rewriting -----------------------------------------------------------------------------

    def expire(self, now: int) -> list[Subscription]:
        """See `Store.expire`; rewrites the journal when it has become too large."""
        ready = super().expire(now)
        if self._journal.size > self._rewrite_at:
            with contextlib.suppress(ResourceExhaustedError):  # the disk is full: later, perhaps
                self.rewrite()
            self._rewrite_at = max(2 * self._journal.size, SMALL_JOURNAL_BYTES)
        return ready

    def rewrite(self) -> None:
        """Let the journal say what is held, and no more how that came about.

        Raises:
            ResourceExhaustedError: it cannot be written, and is as it was.
        """
        self._journal.replace(map(encode, self._kept()))

    def _kept(self) -> Iterator[Record]:
        yield LifeBegan(self._number)
        subscriptions, snapshots = self._subscriptions.values(), self._snapshots.values()
        # Deleted topics live on in those who hold their messages.
        held_from = (*(s.topic for s in subscriptions), *(s.topic for s in snapshots))
        topics = list(dict.fromkeys((*self._topics.values(), *held_from)))
        for number, topic in enumerate(topics):
            yield from self._kept_messages(number, topic)
            yield TopicKept(
                number,
                topic.name,
                topic.settings,
                topic.deleted,
                (topic.last_sequence, topic.last_published_at, topic.published_bytes),
                _sequences(topic.log.messages()),
            )
        for each in subscriptions:
            yield SubscriptionKept(
                topics.index(each.topic),
                each.name,
                each.number,
                each.settings,
                _sequences(each.unacked_messages()),
                _sequences(each.retained_messages()),
            )
        for snapshot in snapshots:
            yield SnapshotKept(
                topics.index(snapshot.topic),
                snapshot.name,
                snapshot.labels,
                snapshot.expires_at,
                _sequences(snapshot.log.messages()),
            )

    def _kept_messages(self, number: int, topic: Topic) -> Iterator[MessagesKept]:
        messages = in_order(
            topic.log.messages(),
            *(s.log.messages() for s in self._snapshots.values() if s.topic is topic),
            *(s.unacked_messages() for s in self._subscriptions.values() if s.topic is topic),
            *(s.retained_messages() for s in self._subscriptions.values() if s.topic is topic),
        )
        for first in range(0, len(messages), _MESSAGES_A_RECORD):
            some = messages[first : first + _MESSAGES_A_RECORD]
            yield MessagesKept(number, [KeptMessage.of(message) for message in some])

    # -- reading what was rewritten ------------------------------------------------------------

    def restore_messages(self, topic: int, messages: Sequence[KeptMessage]) -> None:
        """Lay messages ready for those who hold them."""
        while len(self._restored_messages) <= topic:
            self._restored_messages.append({})
        for each in messages:
            self._restored_messages[topic][each.sequence] = Message(
                each.message_id,
                each.sequence,
                each.published_at,
                each.draft,
                size=each.draft.content_bytes + MESSAGE_OVERHEAD_BYTES,
            )

    def restore_topic(
        self,
        number: int,
        name: str,
        settings: TopicSettings,
        is_deleted: bool,
        counts: tuple[int, int, int],
        log: Sequence[int],
    ) -> None:
        """Make a topic as it was; its messages have been laid ready."""
        topic = Topic(name, settings, self.pool)
        topic.deleted = is_deleted
        topic.last_sequence, topic.last_published_at, topic.published_bytes = counts
        self._restored_topics.append(topic)
        self.restore_messages(number, ())
        topic.log = MessageLog(self.pool, self._restored(number, log))
        if not is_deleted:
            self._topics[name] = topic
            self._readers[topic] = {}
            self._keepers[topic] = {}

    def restore_subscription(
        self,
        topic_number: int,
        name: str,
        number: int,
        settings: SubscriptionSettings,
        unacked: Sequence[int],
        acked: Sequence[int],
    ) -> None:
        """Make a subscription as it was."""
        topic = self._restored_topics[topic_number]
        subscription = Subscription(name, topic, number, settings, self.pool, self._dead_letter)
        subscription.seek(
            self._restored(topic_number, unacked), self._restored(topic_number, acked)
        )
        self._subscriptions[name] = subscription
        self._readers.get(topic, {})[name] = subscription

    def restore_snapshot(
        self,
        topic_number: int,
        name: str,
        labels: Mapping[str, str],
        expires_at: int,
        sequences: Sequence[int],
    ) -> None:
        """Make a snapshot as it was."""
        topic = self._restored_topics[topic_number]
        log = MessageLog(self.pool, self._restored(topic_number, sequences))
        snapshot = Snapshot(name, topic, labels, expires_at, log)
        self._snapshots[name] = snapshot
        self._keepers.get(topic, {})[name] = snapshot

    def _restored(self, topic: int, sequences: Sequence[int]) -> Iterator[Message]:
        return (self._restored_messages[topic][sequence] for sequence in sequences)


def _sequences(messages: Iterable[Message]) -> list[int]:
    return [message.sequence for message in messages]
