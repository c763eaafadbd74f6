"""The changes of a store as records: what is changed, and how the change is made again.

`store` names each change before it makes it; `durable` writes it to the journal and plays what is
there back, in order, to an empty store. Leases and pulls are no changes: after a restart everything
that is not acknowledged waits for delivery. Nor is what time does by itself: it does so again. The
`…Kept` records take the place of all before them when the journal is rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

import msgspec

from sandbox.pubsub.model import Draft, Message, SubscriptionSettings, TopicSettings

if TYPE_CHECKING:
    from sandbox.pubsub.durable import DurableStore


class _Record(msgspec.Struct, array_like=True, tag=True):
    """One record: the arguments, in their order, of the store's method that makes the change."""

    method: ClassVar[str]

    def play(self, store: DurableStore) -> None:
        """Make the change again."""
        getattr(store, self.method)(*msgspec.structs.astuple(self))


class LifeBegan(_Record):
    """A process has begun; ids count on from `number`, and time from `now`."""

    method = "begin_life"
    number: int
    now: int


class TopicCreated(_Record):
    """A client has created a topic."""

    method = "create_topic"
    name: str
    settings: TopicSettings


class TopicUpdated(_Record):
    """A client has changed a topic."""

    method = "update_topic"
    name: str
    settings: TopicSettings
    now: int


class TopicDeleted(_Record):
    """A client has deleted a topic."""

    method = "delete_topic"
    name: str


class Published(_Record):
    """Messages were accepted from a publisher."""

    method = "append"
    topic: str
    drafts: Sequence[Draft]
    now: int


class SubscriptionCreated(_Record):
    """A client has created a subscription."""

    method = "create_subscription"
    name: str
    topic: str
    settings: SubscriptionSettings


class SubscriptionUpdated(_Record):
    """A client has changed a subscription."""

    method = "update_subscription"
    name: str
    settings: SubscriptionSettings
    now: int


class SubscriptionDeleted(_Record):
    """A client has deleted a subscription."""

    method = "delete_subscription"
    name: str


class Settled(_Record):
    """A subscriber has acknowledged messages."""

    method = "settle"
    subscription: str
    sequences: Sequence[int]


class DeadLettered(_Record):
    """A message has left a backlog for the dead letter topic, where it is `draft`."""

    method = "dead_letter"
    subscription: str
    sequence: int
    topic: str
    draft: Draft
    now: int


class SnapshotCreated(_Record):
    """A client has created a snapshot."""

    method = "create_snapshot"
    name: str
    subscription: str
    labels: Mapping[str, str]
    now: int


class SnapshotDeleted(_Record):
    """A client has deleted a snapshot; those that expire do so again by themselves."""

    method = "delete_snapshot"
    name: str


class SoughtTime(_Record):
    """A client has sought a time."""

    method = "seek_to_time"
    subscription: str
    at: int
    now: int


class SoughtSnapshot(_Record):
    """A client has sought a snapshot."""

    method = "seek_to_snapshot"
    subscription: str
    snapshot: str
    now: int


class KeptMessage(msgspec.Struct, array_like=True):
    """A message that somebody holds."""

    message_id: str
    sequence: int
    published_at: int
    draft: Draft

    @classmethod
    def of(cls, message: Message) -> KeptMessage:
        """Return the record of a message."""
        return cls(message.message_id, message.sequence, message.published_at, message.draft)


class MessagesKept(_Record):
    """Messages of the `topic`-th topic, for the records behind this one that name them."""

    method = "restore_messages"
    topic: int
    messages: Sequence[KeptMessage]


class TopicKept(_Record):
    """The `topic`-th topic, alive or deleted, and the sequences that its own log retains."""

    method = "restore_topic"
    topic: int
    name: str
    settings: TopicSettings
    is_deleted: bool
    counts: tuple[int, int, int]
    """Last sequence, time of the last publish, bytes published."""
    log: Sequence[int]


class SubscriptionKept(_Record):
    """A subscription of the `topic`-th topic, and the sequences that it holds."""

    method = "restore_subscription"
    topic: int
    name: str
    number: int
    settings: SubscriptionSettings
    unacked: Sequence[int]
    acked: Sequence[int]


class SnapshotKept(_Record):
    """A snapshot of the `topic`-th topic, and the sequences that it holds."""

    method = "restore_snapshot"
    topic: int
    name: str
    labels: Mapping[str, str]
    expires_at: int
    sequences: Sequence[int]


Record: TypeAlias = (
    LifeBegan
    | TopicCreated
    | TopicUpdated
    | TopicDeleted
    | Published
    | SubscriptionCreated
    | SubscriptionUpdated
    | SubscriptionDeleted
    | Settled
    | DeadLettered
    | SnapshotCreated
    | SnapshotDeleted
    | SoughtTime
    | SoughtSnapshot
    | MessagesKept
    | TopicKept
    | SubscriptionKept
    | SnapshotKept
)

encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder(Record).decode
