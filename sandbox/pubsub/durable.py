"""A store whose state outlives the process: every change is in the journal before it is made.

Called like `store.Store`, by the same layers. After a kill it knows every topic, subscription,
snapshot and message that a client was told of, and every acknowledgement. What was leased is
delivered again; how often a message was delivered, which decides on dead letters, counts anew. A
change that cannot be written is refused with UNAVAILABLE, and is not made.

The journal is rewritten when it has become twice as large as what is held, so `max_bytes` bounds
the disk too: its file may take three times as much, and does not shrink. Rewriting takes as long as
writing all that is held, and nobody is served meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from sandbox.pubsub.errors import StoreError, UnavailableError
from sandbox.pubsub.journal import Journal, JournalError
from sandbox.pubsub.model import (
    MESSAGE_OVERHEAD_BYTES,
    Draft,
    Message,
    SubscriptionSettings,
    TopicSettings,
)
from sandbox.pubsub.records import (
    KeptMessage,
    LifeBegan,
    MessagesKept,
    Record,
    SnapshotKept,
    SubscriptionKept,
    TopicKept,
    decode,
    encode,
)
from sandbox.pubsub.store import Store, in_order
from sandbox.pubsub.subscription import Subscription
from sandbox.pubsub.topic import MessageLog, Snapshot, Topic

SMALL_JOURNAL_BYTES: Final = 64 * 1024 * 1024
"""A journal up to this size is not worth rewriting, nor is so little more after a failure."""

_RECORD_BYTES: Final = 1_000_000  # of messages in a rewritten journal; one message may be larger

_NUMBERS_A_LIFE: Final = 1_000_000_000
"""More ids than any process hands out, so that the next one's are others even when the clock is set
back."""


class DurableStore(Store):
    """A store that begins with what the journal says, and goes on writing it.

    Args:
        max_bytes: see `Store`. A journal that holds more is taken as it is; publishers wait until
            there is room.
        now: the time, in microseconds.
        journal: of this store's earlier lives, or empty.

    Raises:
        JournalError: the journal is damaged, or cannot be written.

    Attributes:
        latest: the latest time in the journal. No change may be made at an earlier one: what time
            did before it would not be done again.
    """

    def __init__(self, max_bytes: int, now: int, journal: Journal) -> None:
        super().__init__(max_bytes, first_number=0)
        self._journal = journal
        self._retry_at = 0
        self._is_playing = True
        self._restored_messages: list[dict[int, Message]] = []
        self._restored_topics: list[Topic] = []
        self.latest = 0
        for position, content in enumerate(journal.read(), 1):
            self._play(position, content)
        self._restored_messages, self._restored_topics = [], []
        self._is_playing = False
        number = max(now, self._number + _NUMBERS_A_LIFE)
        try:
            self._changing(LifeBegan(number, max(now, self.latest)))
        except UnavailableError as error:
            raise JournalError(str(error)) from error
        self.begin_life(number, now)

    def begin_life(self, number: int, now: int) -> None:
        """Count ids and leases on from `number`, and time from `now`."""
        self._number = number
        self.latest = max(self.latest, now)
        for subscription in self._subscriptions.values():
            subscription.begin_life(number)

    def _changing(self, record: Record) -> None:
        if self._is_playing:
            return
        self._journal.append(encode(record))
        self._note_time(record)

    def _note_time(self, record: Record) -> None:
        self.latest = max(self.latest, getattr(record, "now", 0))

    # -- playing -------------------------------------------------------------------------------

    def _play(self, position: int, content: bytes) -> None:
        try:
            record = decode(content)
            record.play(self)
            self._note_time(record)
        except (ValueError, LookupError, StoreError) as error:
            raise JournalError(
                f"--journal {self._journal.path}: record {position} does not fit: {error!r}; "
                "remove the file to begin empty"
            ) from error

    def append(self, topic: str, drafts: Sequence[Draft], now: int) -> None:
        """Accept messages again that were accepted before, whatever the limit is now."""
        self._append(self.topic(topic), drafts, now)

    def settle(self, subscription: str, sequences: Sequence[int]) -> None:
        """Acknowledge again."""
        self.subscription(subscription).acknowledge(sequences)

    def dead_letter(
        self, subscription: str, sequence: int, topic: str, draft: Draft, now: int
    ) -> None:
        """Forward again."""
        self._append(self.topic(topic), [draft], now)
        self.subscription(subscription).remove(sequence)

    # -- rewriting -----------------------------------------------------------------------------

    def expire(self, now: int) -> list[Subscription]:
        """See `Store.expire`; rewrites the journal when it has become too large."""
        ready = super().expire(now)
        if self._journal.size > max(2 * self.pool.bytes, SMALL_JOURNAL_BYTES, self._retry_at):
            try:
                self.rewrite()
            except UnavailableError:  # changes are refused too; who makes them is told
                self._retry_at = self._journal.size + SMALL_JOURNAL_BYTES
        return ready

    def rewrite(self) -> None:
        """Let the journal say what is held, and no more how that came about.

        Raises:
            UnavailableError: it cannot be written, and is as it was.
        """
        self._journal.replace(map(encode, self._kept()))

    def _kept(self) -> Iterator[Record]:
        yield LifeBegan(self._number, self.latest)
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
        some, size = list[KeptMessage](), 0
        for message in messages:
            some.append(KeptMessage.of(message))
            size += message.size
            if size >= _RECORD_BYTES:
                yield MessagesKept(number, some)
                some, size = [], 0
        yield MessagesKept(number, some)

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
