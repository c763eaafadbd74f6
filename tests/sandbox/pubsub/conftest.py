"""Shared by the tests of the embedded Pub/Sub: a store in a small world, and a live server."""

import shutil
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import grpc
import pytest
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from sandbox.pubsub.durable import DurableStore
from sandbox.pubsub.journal import Journal
from sandbox.pubsub.model import SECOND, Draft, Message, SubscriptionSettings, TopicSettings
from sandbox.pubsub.server import PubSubServer, ServerSettings
from sandbox.pubsub.store import Store
from sandbox.pubsub.subscription import Subscription

TOPIC = "projects/crypto-local/topics/trades"
SUBSCRIPTION = "projects/crypto-local/subscriptions/job"
SNAPSHOT = "projects/crypto-local/snapshots/before"
START = 1_700_000_000 * SECOND


class World:
    """A store with one topic, a clock that the test pushes, and short verbs."""

    def __init__(self, max_bytes: int = 10_000_000, store: Store | None = None) -> None:
        self.now = START
        self.store = store or Store(max_bytes, first_number=1)
        self.topic = self.store.create_topic(TOPIC, TopicSettings())

    def subscribe(self, name: str = SUBSCRIPTION, **settings: object) -> Subscription:
        return self.store.create_subscription(name, TOPIC, SubscriptionSettings(**settings))

    def publish(self, *texts: str, key: str = "", topic: str = TOPIC) -> list[str]:
        drafts = [Draft(text.encode(), {}, key) for text in texts]
        return self.store.publish(topic, drafts, self.now)

    def pull(self, subscription: Subscription, count: int = 100, **more: object):
        return subscription.pull(self.now, count, 10**9, **more)

    def texts(self, subscription: Subscription, count: int = 100) -> list[str]:
        return [d.message.draft.data.decode() for d in self.pull(subscription, count)]

    def ack(self, subscription: Subscription, deliveries) -> None:
        self.store.acknowledge(subscription, [d.ack_id for d in deliveries])

    def nack(self, subscription: Subscription, deliveries) -> None:
        subscription.modify_ack_deadline([d.ack_id for d in deliveries], 0, self.now)

    def later(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


def holdings(store: Store) -> dict[str, object]:
    """Return all that a client could find out about a store, save for leases and counters."""

    def shown(messages: Iterable[Message]) -> list[tuple[object, ...]]:
        return sorted((m.sequence, m.message_id, m.published_at, m.draft) for m in messages)

    return {
        "bytes": store.pool.bytes,
        "topics": {
            name: (
                *(topic.settings, topic.stats(), topic.last_published_at),
                shown(topic.log.messages()),
            )
            for name, topic in store._topics.items()
        },
        "subscriptions": {
            name: (
                *(each.topic.shown_name, each.number, each.settings),
                *(shown(each.unacked_messages()), shown(each.retained_messages())),
            )
            for name, each in store._subscriptions.items()
        },
        "snapshots": {
            name: (
                *(each.topic.shown_name, dict(each.labels), each.expires_at),
                shown(each.log.messages()),
            )
            for name, each in store._snapshots.items()
        },
    }


class Reading:
    """A journal that is only read."""

    def __init__(self, journal: Journal) -> None:
        self.path, self.size, self.read = journal.path, journal.size, journal.read

    def append(self, content: bytes) -> None:
        """Forget it."""


def killed(journal: Journal) -> Journal:
    """Return the journal that a kill at this moment would leave: closing one writes to its file."""
    left = journal.path.with_name(f"{uuid.uuid4().hex}.db")
    for suffix in ("", "-wal"):
        if (file := Path(f"{journal.path}{suffix}")).exists():
            shutil.copy(file, f"{left}{suffix}")
    return Journal(left)


def replayed(journal: Journal) -> DurableStore:
    """Return what a process that began now would know."""
    return DurableStore(10**9, 1, cast(Journal, Reading(journal)))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def live() -> AsyncIterator[SimpleNamespace]:
    """A server in this event loop, with the asynchronous clients of google-cloud-pubsub."""
    settings = ServerSettings(port=0, pull_wait_seconds=0.3, max_bytes=20_000_000)
    async with (
        PubSubServer(settings) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
        subscriber = SubscriberAsyncClient(
            transport=SubscriberGrpcAsyncIOTransport(channel=channel)
        )
        await publisher.create_topic(name=TOPIC, retry=None, timeout=5)
        await subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC, retry=None, timeout=5)

        async def publish(*texts: str):
            messages = [{"data": text.encode()} for text in texts]
            return await publisher.publish(topic=TOPIC, messages=messages, retry=None, timeout=5)

        async def pull(max_messages: int = 10):
            response = await subscriber.pull(
                subscription=SUBSCRIPTION, max_messages=max_messages, retry=None, timeout=5
            )
            return list(response.received_messages)

        async def ack(received) -> None:
            await subscriber.acknowledge(
                subscription=SUBSCRIPTION,
                ack_ids=[item.ack_id for item in received],
                retry=None,
                timeout=5,
            )

        yield SimpleNamespace(
            server=server,
            publisher=publisher,
            subscriber=subscriber,
            publish=publish,
            pull=pull,
            ack=ack,
        )
