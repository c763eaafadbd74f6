"""The values that the store is made of: messages, settings, limits, statistics.

Pure. All times are integer microseconds since 1970 UTC, all durations integer microseconds unless
the name says otherwise. Limits come from Pub/Sub's "Quotas and limits" page.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sandbox.pubsub.errors import (
    InvalidArgumentError,
    OutOfRangeError,
    ResourceExhaustedError,
)

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE

MAX_PUBLISH_BYTES = 10_000_000
MAX_PUBLISH_MESSAGES = 1000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024
MAX_ORDERING_KEY_BYTES = 1024
MIN_ACK_DEADLINE_SECONDS = 10
MAX_ACK_DEADLINE_SECONDS = 600
MIN_RETENTION = 10 * MINUTE
MAX_RETENTION = 31 * DAY
DEFAULT_RETENTION = 7 * DAY
MIN_DELIVERY_ATTEMPTS = 5
MAX_DELIVERY_ATTEMPTS = 100
MAX_BACKOFF = 600 * SECOND

MESSAGE_OVERHEAD_BYTES = 1024
"""Charged per message on top of its content: the objects of a message in one subscription's
backlog take about this much of a 64-bit CPython (see `tests/sandbox/pubsub/test_store.py`)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a publisher sends: one message before the server gave it an id and a time."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    ordering_key: str = ""

    @property
    def content_bytes(self) -> int:
        """Size of data, attributes and ordering key."""
        attributes = sum(len(key) + len(value) for key, value in self.attributes.items())
        return len(self.data) + attributes + len(self.ordering_key)


@dataclass(slots=True, eq=False)
class Message:
    """A published message, shared by all who hold it (see `MessagePool`).

    Attributes:
        message_id: unique over this server's life and its predecessors'.
        sequence: consecutive within the topic; the order of delivery.
        published_at: server time, never decreasing within a topic.
        size: bytes charged to the pool.
        holders: how many backlogs, snapshots and topic logs keep it.
    """

    message_id: str
    sequence: int
    published_at: int
    draft: Draft
    size: int
    holders: int = 0


class MessagePool:
    """Counts the bytes of all messages that anybody still holds, against a limit."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0

    def hold(self, message: Message) -> None:
        """One more holder of `message`."""
        if message.holders == 0:
            self.bytes += message.size
        message.holders += 1

    def release(self, message: Message) -> None:
        """One holder of `message` less."""
        message.holders -= 1
        if message.holders == 0:
            self.bytes -= message.size

    def check_room(self, size: int) -> None:
        """Refuse `size` more bytes when they do not fit.

        Raises:
            ResourceExhaustedError: publishers must wait until subscribers acknowledge.
        """
        if self.bytes + size > self.max_bytes:
            raise ResourceExhaustedError(
                f"message memory is full: {self.bytes} of {self.max_bytes} bytes are held and "
                f"{size} more were published; acknowledge messages, delete subscriptions that "
                "nobody reads, or raise --max-bytes"
            )


class Delivery(NamedTuple):
    """One message handed to a subscriber. `attempt` counts from 1."""

    ack_id: str
    message: Message
    attempt: int


@dataclass(slots=True, eq=False)
class Consumer:
    """Flow control of one streaming pull: what it may have unacknowledged and what it has.

    A limit of 0 or less is no limit. As documented for `max_outstanding_bytes`, a message is sent
    while less than the limit is outstanding, so one message may exceed it.
    """

    max_messages: int = 0
    max_bytes: int = 0
    messages: int = 0
    bytes: int = 0

    def has_room(self) -> bool:
        """Whether another message may be sent."""
        return (self.max_messages <= 0 or self.messages < self.max_messages) and (
            self.max_bytes <= 0 or self.bytes < self.max_bytes
        )


class State(enum.Enum):
    """Where an unacknowledged message stands."""

    READY = enum.auto()
    LEASED = enum.auto()
    DELAYED = enum.auto()
    """Refused, and held back by the retry policy until `due`."""


@dataclass(slots=True, eq=False)
class Entry:
    """An unacknowledged message of one subscription."""

    message: Message
    state: State = State.READY
    attempts: int = 0
    lease: int = 0
    due: int = 0
    consumer: Consumer | None = None


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What a client chooses for a topic. `retention` None: only subscriptions retain."""

    labels: Mapping[str, str] = field(default_factory=dict)
    retention: int | None = None

    def check(self) -> None:
        """Raise InvalidArgumentError for a retention outside 10 minutes to 31 days."""
        if self.retention is not None:
            _check_retention(self.retention)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Wait before a refused message is delivered again, doubling with every attempt."""

    minimum: int = 10 * SECOND
    maximum: int = MAX_BACKOFF

    def delay(self, attempts: int) -> int:
        """Return the wait after `attempts` deliveries, in microseconds."""
        return int(min(self.maximum, self.minimum << min(max(attempts - 1, 0), 32)))


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    """What a client chooses for a subscription.

    `expiration_ttl` is kept for the client to read back and not acted upon: subscriptions here do
    not expire.
    """

    ack_deadline_seconds: int = MIN_ACK_DEADLINE_SECONDS
    retain_acked: bool = False
    retention: int = DEFAULT_RETENTION
    ordered: bool = False
    dead_letter_topic: str = ""
    max_delivery_attempts: int = MIN_DELIVERY_ATTEMPTS
    retry: RetryPolicy | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    expiration_ttl: int | None = None

    def check(self) -> None:
        """Check every number.

        Raises:
            InvalidArgumentError: ack deadline, retention or backoff out of bounds.
            OutOfRangeError: max_delivery_attempts out of bounds.
        """
        if not MIN_ACK_DEADLINE_SECONDS <= self.ack_deadline_seconds <= MAX_ACK_DEADLINE_SECONDS:
            raise InvalidArgumentError(
                f"ack_deadline_seconds out of bounds: {self.ack_deadline_seconds}; expected "
                f"{MIN_ACK_DEADLINE_SECONDS} to {MAX_ACK_DEADLINE_SECONDS}"
            )
        _check_retention(self.retention)
        if not MIN_DELIVERY_ATTEMPTS <= self.max_delivery_attempts <= MAX_DELIVERY_ATTEMPTS:
            raise OutOfRangeError(
                f"max_delivery_attempts out of bounds: {self.max_delivery_attempts}; expected "
                f"{MIN_DELIVERY_ATTEMPTS} to {MAX_DELIVERY_ATTEMPTS}"
            )
        if self.retry and not 0 <= self.retry.minimum <= self.retry.maximum <= MAX_BACKOFF:
            raise InvalidArgumentError(
                f"retry_policy out of bounds: {self.retry.minimum / SECOND} s to "
                f"{self.retry.maximum / SECOND} s; expected 0 <= minimum <= maximum <= 600 s"
            )


def _check_retention(retention: int) -> None:
    if not MIN_RETENTION <= retention <= MAX_RETENTION:
        raise InvalidArgumentError(
            f"message_retention_duration out of bounds: {retention / SECOND} s; expected "
            f"{MIN_RETENTION // SECOND} s (10 minutes) to {MAX_RETENTION // SECOND} s (31 days)"
        )


def check_publish(drafts: Sequence[Draft]) -> int:
    """Check one publish request against Pub/Sub's limits; return its content in bytes.

    Raises:
        InvalidArgumentError: no message, too many, too large, an empty one, or an attribute or
            ordering key beyond its limit.
    """
    if not drafts:
        raise InvalidArgumentError("No messages to publish")
    if len(drafts) > MAX_PUBLISH_MESSAGES:
        raise InvalidArgumentError(
            f"Too many messages to publish: {len(drafts)}; at most {MAX_PUBLISH_MESSAGES} a request"
        )
    for draft in drafts:
        _check_draft(draft)
    total = sum(draft.content_bytes for draft in drafts)
    if total > MAX_PUBLISH_BYTES:
        raise InvalidArgumentError(
            f"Request payload size exceeds the limit: {total} bytes; at most {MAX_PUBLISH_BYTES}"
        )
    return total


def _check_draft(draft: Draft) -> None:
    if not draft.data and not draft.attributes:
        raise InvalidArgumentError("Some messages are empty: neither data nor attributes")
    if len(draft.ordering_key.encode()) > MAX_ORDERING_KEY_BYTES:
        raise InvalidArgumentError(f"ordering_key is longer than {MAX_ORDERING_KEY_BYTES} bytes")
    if len(draft.attributes) > MAX_ATTRIBUTES:
        raise InvalidArgumentError(
            f"too many attributes: {len(draft.attributes)}; at most {MAX_ATTRIBUTES} a message"
        )
    for key, value in draft.attributes.items():
        if not key or len(key.encode()) > MAX_ATTRIBUTE_KEY_BYTES or key.startswith("goog"):
            raise InvalidArgumentError(
                f"bad attribute key {key[:40]!r}: expected 1 to {MAX_ATTRIBUTE_KEY_BYTES} bytes "
                "not starting with 'goog'"
            )
        if len(value.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise InvalidArgumentError(
                f"value of attribute {key!r} is longer than {MAX_ATTRIBUTE_VALUE_BYTES} bytes"
            )


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """Counters and gauges of one subscription.

    Until the first seek: received == acked + expired + dead_lettered + backlog.
    """

    topic: str
    received_messages: int
    delivered_messages: int
    acked_messages: int
    expired_messages: int
    dead_lettered_messages: int
    backlog_messages: int
    outstanding_messages: int
    retained_acked_messages: int
    oldest_unacked_age_seconds: float


@dataclass(frozen=True, slots=True)
class TopicStats:
    """Counters of one topic; bytes are content, without overhead."""

    published_messages: int
    published_bytes: int
