"""A topic and the two things that keep its messages besides subscriptions: its log and snapshots.

The store owns them. Pure; times in microseconds.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from sandbox.pubsub.model import Message, MessagePool, TopicSettings, TopicStats

DELETED_TOPIC = "_deleted-topic_"
"""What Pub/Sub shows as the topic of a subscription whose topic is gone."""


class MessageLog:
    """Messages in publish order, charged to the pool, dropped from the old end."""

    def __init__(self, pool: MessagePool, messages: Iterable[Message] = ()) -> None:
        self._pool = pool
        self._messages: deque[Message] = deque()
        for message in messages:
            self.append(message)

    def append(self, message: Message) -> None:
        """Keep one more message."""
        self._pool.hold(message)
        self._messages.append(message)

    def drop_older_than(self, cutoff: int) -> None:
        """Forget what was published before `cutoff`."""
        while self._messages and self._messages[0].published_at < cutoff:
            self._pool.release(self._messages.popleft())

    def clear(self) -> None:
        """Forget everything."""
        while self._messages:
            self._pool.release(self._messages.popleft())

    def messages(self) -> list[Message]:
        """Return all messages, in publish order."""
        return list(self._messages)


class Topic:
    """A named stream of messages. The log is empty unless the topic itself retains."""

    def __init__(self, name: str, settings: TopicSettings, pool: MessagePool) -> None:
        self.name = name
        self.settings = settings
        self.deleted = False
        self.log = MessageLog(pool)
        self.last_sequence = 0
        self.last_published_at = 0
        self.published_bytes = 0

    @property
    def shown_name(self) -> str:
        """The name, or Pub/Sub's placeholder once the topic is deleted."""
        return DELETED_TOPIC if self.deleted else self.name

    def expire(self, now: int) -> None:
        """Drop from the log what the topic's retention no longer covers."""
        self.log.drop_older_than(now - (self.settings.retention or 0))

    def stats(self) -> TopicStats:
        """Return what has been published since the topic was created."""
        return TopicStats(self.last_sequence, self.published_bytes)


class Snapshot:
    """The backlog of a subscription at one moment, and everything published since.

    Args:
        name: full resource name.
        topic: of the subscription it was taken from.
        labels: the client's.
        expires_at: when it goes by itself, in microseconds.
        log: the backlog at that moment; the store appends what is published later.
    """

    def __init__(
        self, name: str, topic: Topic, labels: Mapping[str, str], expires_at: int, log: MessageLog
    ) -> None:
        self.name = name
        self.topic = topic
        self.labels = labels
        self.expires_at = expires_at
        self.log = log
