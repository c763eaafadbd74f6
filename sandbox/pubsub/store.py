"""Everything this Pub/Sub knows: topics, subscriptions, snapshots, and the rules between them.

Called by the gRPC layer (`publisher`, `subscriber`, `streaming`) and by `admin` for statistics.
Pure: no I/O, no clock; `now` (microseconds since 1970 UTC) is an argument. All state is in memory
and ends with the process; `durable` is a store whose state does not.

Memory is bounded by age (the retention of each subscription, topic and snapshot) and by bytes
(`max_bytes`, content plus `MESSAGE_OVERHEAD_BYTES` a message, counted once however many
subscriptions hold it). When it is full a publish is refused with RESOURCE_EXHAUSTED; nothing that
was accepted is ever dropped to make room. Google's clients back off and try again.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TypeVar

from sandbox.pubsub.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
    ResourceExhaustedError,
    StoreError,
)
from sandbox.pubsub.model import (
    DEFAULT_RETENTION,
    MESSAGE_OVERHEAD_BYTES,
    SECOND,
    Draft,
    Entry,
    Message,
    MessagePool,
    SubscriptionSettings,
    SubscriptionStats,
    TopicSettings,
    TopicStats,
    check_publish,
)
from sandbox.pubsub.names import check_name, check_project
from sandbox.pubsub.records import (
    DeadLettered,
    Published,
    Record,
    Settled,
    SnapshotCreated,
    SnapshotDeleted,
    SoughtSnapshot,
    SoughtTime,
    SubscriptionCreated,
    SubscriptionDeleted,
    SubscriptionUpdated,
    TopicCreated,
    TopicDeleted,
    TopicUpdated,
)
from sandbox.pubsub.subscription import Subscription
from sandbox.pubsub.topic import MessageLog, Snapshot, Topic

Resource = TypeVar("Resource", Topic, Subscription, Snapshot)

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


class Store:
    """Topics, subscriptions and snapshots of all projects.

    Args:
        max_bytes: limit of the message memory.
        first_number: where message ids and the numbers in ack ids begin. Give the start time in
            microseconds, so that a restarted server does not hand out an id a second time.
    """

    def __init__(self, max_bytes: int, first_number: int) -> None:
        self.pool = MessagePool(max_bytes)
        self._number = first_number
        self._topics: dict[str, Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._readers: dict[Topic, dict[str, Subscription]] = {}
        self._keepers: dict[Topic, dict[str, Snapshot]] = {}

    def _changing(self, record: Record) -> None:
        """Called before each change, when nothing can refuse it any more: `durable` writes it."""

    # -- topics --------------------------------------------------------------------------------

    def create_topic(self, name: str, settings: TopicSettings) -> Topic:
        """Create an empty topic. Raises InvalidArgumentError or AlreadyExistsError."""
        check_name("topics", name)
        settings.check()
        if name in self._topics:
            raise AlreadyExistsError(f"Topic already exists (resource={name})")
        self._changing(TopicCreated(name, settings))
        topic = self._topics[name] = Topic(name, settings, self.pool)
        self._readers[topic] = {}
        self._keepers[topic] = {}
        return topic

    def topic(self, name: str) -> Topic:
        """Look a topic up. Raises InvalidArgumentError or NotFoundError."""
        check_name("topics", name)
        if name not in self._topics:
            raise NotFoundError(f"Topic not found (resource={name})")
        return self._topics[name]

    def update_topic(self, name: str, settings: TopicSettings, now: int) -> Topic:
        """Replace a topic's settings."""
        topic = self.topic(name)
        settings.check()
        topic.expire(now)
        self._changing(TopicUpdated(name, settings, now))
        topic.settings = settings
        topic.expire(now)
        return topic

    def delete_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions and snapshots keep what they hold."""
        topic = self.topic(name)
        self._changing(TopicDeleted(name))
        topic.deleted = True
        topic.log.clear()
        del self._topics[name]
        del self._readers[topic]
        del self._keepers[topic]

    def topics(self, project: str, page_size: int, token: str) -> tuple[list[Topic], str]:
        """Return one page of a project's topics by name, and the token of the next."""
        return _page(self._topics, check_project(project), page_size, token)

    def readers(self, name: str) -> list[Subscription]:
        """Return the subscriptions attached to a topic."""
        return list(self._readers[self.topic(name)].values())

    def topic_subscriptions(
        self, name: str, page_size: int, token: str
    ) -> tuple[list[Subscription], str]:
        """Return one page of the subscriptions attached to a topic, and the token of the next."""
        return _page(self._readers[self.topic(name)], "", page_size, token)

    def publish(self, name: str, drafts: Sequence[Draft], now: int) -> list[str]:
        """Accept messages for all subscriptions of a topic; return their ids.

        All or none are accepted.

        Raises:
            InvalidArgumentError: a limit of Pub/Sub is broken (see `check_publish`).
            NotFoundError: no such topic.
            ResourceExhaustedError: the message memory is full.
        """
        topic = self.topic(name)
        content = check_publish(drafts)
        self._make_room(content + len(drafts) * MESSAGE_OVERHEAD_BYTES, now)
        self._changing(Published(name, drafts, now))
        return self._append(topic, drafts, now)

    def _make_room(self, size: int, now: int) -> None:
        try:
            self.pool.check_room(size)
        except ResourceExhaustedError:
            self.expire(now)
            self.pool.check_room(size)

    def _append(self, topic: Topic, drafts: Sequence[Draft], now: int) -> list[str]:
        topic.last_published_at = max(now, topic.last_published_at)
        readers = self._readers[topic].values()
        keepers = self._keepers[topic].values()
        ids = []
        for draft in drafts:
            self._number += 1
            topic.last_sequence += 1
            size = draft.content_bytes
            topic.published_bytes += size
            message = Message(
                message_id=str(self._number),
                sequence=topic.last_sequence,
                published_at=topic.last_published_at,
                draft=draft,
                size=size + MESSAGE_OVERHEAD_BYTES,
            )
            ids.append(message.message_id)
            if topic.settings.retention:
                topic.log.append(message)
            for subscription in readers:
                subscription.offer(message)
            for snapshot in keepers:
                snapshot.log.append(message)
        return ids

    # -- subscriptions -------------------------------------------------------------------------

    def create_subscription(
        self, name: str, topic_name: str, settings: SubscriptionSettings
    ) -> Subscription:
        """Create a subscription that receives what is published from now on.

        Raises:
            InvalidArgumentError, OutOfRangeError: a name or a setting.
            AlreadyExistsError, NotFoundError: the subscription, its topic or dead letter topic.
        """
        check_name("subscriptions", name)
        topic = self.topic(topic_name)
        if name in self._subscriptions:
            raise AlreadyExistsError(f"Subscription already exists (resource={name})")
        self._check_settings(settings)
        self._changing(SubscriptionCreated(name, topic_name, settings))
        self._number += 1
        subscription = Subscription(
            name, topic, self._number, settings, self.pool, self._dead_letter
        )
        self._subscriptions[name] = self._readers[topic][name] = subscription
        return subscription

    def subscription(self, name: str) -> Subscription:
        """Look a subscription up. Raises InvalidArgumentError or NotFoundError."""
        check_name("subscriptions", name)
        if name not in self._subscriptions:
            raise NotFoundError(f"Subscription does not exist (resource={name})")
        return self._subscriptions[name]

    def update_subscription(
        self, name: str, settings: SubscriptionSettings, now: int
    ) -> Subscription:
        """Replace a subscription's settings; whether it is ordered cannot change."""
        subscription = self.subscription(name)
        self._check_settings(settings)
        subscription.expire(now)
        self._changing(SubscriptionUpdated(name, settings, now))
        subscription.apply(settings)
        return subscription

    def delete_subscription(self, name: str) -> Subscription:
        """Delete a subscription with its backlog."""
        subscription = self.subscription(name)
        self._changing(SubscriptionDeleted(name))
        del self._subscriptions[name]
        self._readers.get(subscription.topic, {}).pop(name, None)
        subscription.release_all()
        return subscription

    def subscriptions(
        self, project: str, page_size: int, token: str
    ) -> tuple[list[Subscription], str]:
        """Return one page of a project's subscriptions by name, and the token of the next."""
        return _page(self._subscriptions, check_project(project), page_size, token)

    def acknowledge(self, subscription: Subscription, ack_ids: Sequence[str]) -> None:
        """End the named leases for good; ids of the past are ignored, as Pub/Sub does.

        An acknowledgement after the deadline still counts when the message has not been delivered
        again in the meantime (so does Google's emulator).

        Raises:
            InvalidArgumentError: none given, or one is malformed; nothing is acknowledged then.
        """
        if sequences := subscription.leased_sequences(ack_ids):
            self._changing(Settled(subscription.name, sequences))
            subscription.acknowledge(sequences)

    def _check_settings(self, settings: SubscriptionSettings) -> None:
        settings.check()
        if settings.dead_letter_topic:
            self.topic(settings.dead_letter_topic)

    def _dead_letter(self, subscription: Subscription, entry: Entry, now: int) -> bool:
        """Publish an entry to its dead letter topic, marked as Pub/Sub marks it."""
        topic = self._topics.get(subscription.settings.dead_letter_topic)
        if topic is None:
            return False
        draft = _dead_letter_draft(subscription, entry)
        sequence = entry.message.sequence
        try:
            self.pool.check_room(draft.content_bytes + MESSAGE_OVERHEAD_BYTES)
            self._changing(DeadLettered(subscription.name, sequence, topic.name, draft, now))
        except StoreError:
            return False
        self._append(topic, [draft], now)
        return True

    # -- snapshots and seek --------------------------------------------------------------------

    def create_snapshot(
        self, name: str, subscription_name: str, labels: Mapping[str, str], now: int
    ) -> Snapshot:
        """Keep a subscription's backlog, and all that is published later, for a seek.

        It lives seven days less the age of the oldest message in it.

        Raises:
            InvalidArgumentError, AlreadyExistsError, NotFoundError: the names.
            FailedPreconditionError: the subscription's topic is deleted.
        """
        check_name("snapshots", name)
        self._drop_old_snapshots(now)
        if name in self._snapshots:
            raise AlreadyExistsError(f"Snapshot already exists (resource={name})")
        subscription = self.subscription(subscription_name)
        if subscription.topic.deleted:
            raise FailedPreconditionError(
                f"{subscription_name}: its topic is deleted, so a snapshot could not grow"
            )
        subscription.expire(now)
        self._changing(SnapshotCreated(name, subscription_name, labels, now))
        backlog = subscription.unacked_messages()
        age = now - backlog[0].published_at if backlog else 0
        snapshot = Snapshot(
            name,
            subscription.topic,
            labels,
            now + max(DEFAULT_RETENTION - age, 0),
            MessageLog(self.pool, backlog),
        )
        self._snapshots[name] = self._keepers[subscription.topic][name] = snapshot
        return snapshot

    def snapshot(self, name: str) -> Snapshot:
        """Look a snapshot up. Raises InvalidArgumentError or NotFoundError."""
        check_name("snapshots", name)
        if name not in self._snapshots:
            raise NotFoundError(f"Snapshot does not exist (resource={name})")
        return self._snapshots[name]

    def delete_snapshot(self, name: str) -> None:
        """Delete a snapshot and let go of its messages."""
        snapshot = self.snapshot(name)
        self._changing(SnapshotDeleted(name))
        self._drop_snapshot(snapshot)

    def _drop_snapshot(self, snapshot: Snapshot) -> None:
        del self._snapshots[snapshot.name]
        self._keepers.get(snapshot.topic, {}).pop(snapshot.name, None)
        snapshot.log.clear()

    def _drop_old_snapshots(self, now: int) -> None:
        for snapshot in [s for s in self._snapshots.values() if s.expires_at <= now]:
            self._drop_snapshot(snapshot)

    def snapshots(self, project: str, page_size: int, token: str) -> tuple[list[Snapshot], str]:
        """Return one page of a project's snapshots by name, and the token of the next."""
        return _page(self._snapshots, check_project(project), page_size, token)

    def seek_to_time(self, name: str, at: int, now: int) -> Subscription:
        """Mark what was published before `at` as acknowledged and the rest as not.

        Acknowledged messages come back when the subscription or the topic has retained them.
        """
        subscription = self.subscription(name)
        subscription.expire(now)
        subscription.topic.expire(now)
        self._changing(SoughtTime(name, at, now))
        known = in_order(
            subscription.topic.log.messages(),
            subscription.unacked_messages(),
            subscription.retained_messages(),
        )
        subscription.seek(
            [message for message in known if message.published_at >= at],
            [message for message in known if message.published_at < at],
        )
        return subscription

    def seek_to_snapshot(self, name: str, snapshot_name: str, now: int) -> Subscription:
        """Mark as not acknowledged exactly what the snapshot holds.

        Raises:
            NotFoundError: one of the two.
            FailedPreconditionError: they belong to different topics.
        """
        subscription = self.subscription(name)
        snapshot = self.snapshot(snapshot_name)
        if subscription.topic is not snapshot.topic:
            raise FailedPreconditionError(
                f"The subscription's topic {subscription.topic.shown_name} is different from that "
                f"of the snapshot {snapshot.topic.shown_name}; a topic that was deleted and "
                "created again counts as another"
            )
        subscription.expire(now)
        self._changing(SoughtSnapshot(name, snapshot_name, now))
        kept = snapshot.log.messages()
        wanted = {message.sequence for message in kept}
        known = in_order(subscription.unacked_messages(), subscription.retained_messages())
        subscription.seek(kept, [item for item in known if item.sequence not in wanted])
        return subscription

    # -- time and numbers ----------------------------------------------------------------------

    def expire(self, now: int) -> list[Subscription]:
        """Apply retention and lease deadlines everywhere; return who has something to deliver."""
        for topic in self._topics.values():
            topic.expire(now)
        self._drop_old_snapshots(now)
        for subscription in self._subscriptions.values():
            subscription.expire(now)
        return [item for item in self._subscriptions.values() if item.has_ready()]

    def topic_stats(self) -> dict[str, TopicStats]:
        """Return the counters of every topic by name."""
        return {name: topic.stats() for name, topic in self._topics.items()}

    def subscription_stats(self, now: int) -> dict[str, SubscriptionStats]:
        """Return the counters and gauges of every subscription by name."""
        return {name: item.stats(now) for name, item in self._subscriptions.items()}


def in_order(*groups: list[Message]) -> list[Message]:
    """Merge messages of one topic, each once, in publish order."""
    by_sequence = {message.sequence: message for group in groups for message in group}
    return [by_sequence[sequence] for sequence in sorted(by_sequence)]


def _page(
    resources: Mapping[str, Resource], prefix: str, page_size: int, token: str
) -> tuple[list[Resource], str]:
    """Cut a page from the names under `prefix`; the token is the last name of the page before."""
    size = min(page_size, MAX_PAGE_SIZE) if page_size > 0 else DEFAULT_PAGE_SIZE
    names = sorted(name for name in resources if name.startswith(prefix) and name > token)
    page = [resources[name] for name in names[:size]]
    return page, names[size - 1] if len(names) > size else ""


def _dead_letter_draft(subscription: Subscription, entry: Entry) -> Draft:
    """Return the message with the attributes that Pub/Sub adds when it forwards.

    Source: "Dead letter topics" in Pub/Sub's documentation.
    """
    _, project, _, short_name = subscription.name.split("/")
    published = dt.datetime.fromtimestamp(entry.message.published_at / SECOND, tz=dt.UTC)
    draft = entry.message.draft
    marks = {
        "CloudPubSubDeadLetterSourceDeliveryCount": str(entry.attempts),
        "CloudPubSubDeadLetterSourceSubscription": short_name,
        "CloudPubSubDeadLetterSourceSubscriptionProject": project,
        "CloudPubSubDeadLetterSourceTopicPublishTime": published.isoformat(
            timespec="milliseconds"
        ).replace("+00:00", "Z"),
    }
    return Draft(draft.data, {**draft.attributes, **marks}, draft.ordering_key)
