"""Between the protobuf messages of google.pubsub.v1 and the values of the store.

Called by `publisher`, `subscriber` and `streaming`. Works on the protobuf classes beneath
`google.pubsub_v1.types` because their proto-plus wrappers cost several times as much per field.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from google.protobuf import empty_pb2
from google.pubsub_v1 import types

from sandbox.pubsub.errors import InvalidArgumentError, UnsupportedError
from sandbox.pubsub.model import (
    DEFAULT_RETENTION,
    MIN_ACK_DEADLINE_SECONDS,
    MIN_DELIVERY_ATTEMPTS,
    SECOND,
    Delivery,
    Draft,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
)
from sandbox.pubsub.subscription import Subscription
from sandbox.pubsub.topic import Snapshot, Topic

_MAX_SECONDS = 315_576_000_000

Pb = Any
"""A protobuf message; the generated classes carry no type information."""


def pb_class(name: str) -> Pb:
    """Return the protobuf class of a google.pubsub.v1 message, e.g. `PublishRequest`."""
    return empty_pb2.Empty if name == "Empty" else getattr(types, name).pb()


TopicPb = pb_class("Topic")
SubscriptionPb = pb_class("Subscription")
SnapshotPb = pb_class("Snapshot")

_TOPIC_UNSUPPORTED = (
    "schema_settings",
    "ingestion_data_source_settings",
    "message_transforms",
)
_SUBSCRIPTION_UNSUPPORTED = (
    "bigquery_config",
    "cloud_storage_config",
    "bigtable_config",
    "filter",
    "enable_exactly_once_delivery",
    "message_transforms",
)

_TOPIC_FIELDS: Mapping[str, tuple[str, ...]] = {
    "labels": ("labels",),
    "message_retention_duration": ("retention",),
}
_SUBSCRIPTION_FIELDS: Mapping[str, tuple[str, ...]] = {
    "ack_deadline_seconds": ("ack_deadline_seconds",),
    "retain_acked_messages": ("retain_acked",),
    "message_retention_duration": ("retention",),
    "labels": ("labels",),
    "dead_letter_policy": ("dead_letter_topic", "max_delivery_attempts"),
    "retry_policy": ("retry",),
    "expiration_policy": ("expiration_ttl",),
}


def to_draft(pb: Pb) -> Draft:
    """Return what a PubsubMessage says before it is published."""
    return Draft(pb.data, dict(pb.attributes), pb.ordering_key)


def to_topic_settings(pb: Pb) -> TopicSettings:
    """Return a Topic's settings.

    Raises:
        UnsupportedError: it asks for something that is not carried out here.
    """
    _refuse_unsupported(pb, _TOPIC_UNSUPPORTED)
    retained = pb.HasField("message_retention_duration")
    return TopicSettings(
        labels=dict(pb.labels),
        retention=to_microseconds(pb.message_retention_duration) if retained else None,
    )


def to_subscription_settings(pb: Pb) -> SubscriptionSettings:
    """Return a Subscription's settings, with Pub/Sub's defaults for what is not set.

    Raises:
        UnsupportedError: it asks for something that is not carried out here.
    """
    _refuse_unsupported(pb, _SUBSCRIPTION_UNSUPPORTED)
    if pb.push_config.push_endpoint:
        raise UnsupportedError("push_config is not carried out by the embedded Pub/Sub; pull")
    retained = pb.HasField("message_retention_duration")
    expires = pb.HasField("expiration_policy") and pb.expiration_policy.HasField("ttl")
    return SubscriptionSettings(
        ack_deadline_seconds=pb.ack_deadline_seconds or MIN_ACK_DEADLINE_SECONDS,
        retain_acked=pb.retain_acked_messages,
        retention=to_microseconds(pb.message_retention_duration) if retained else DEFAULT_RETENTION,
        ordered=pb.enable_message_ordering,
        dead_letter_topic=pb.dead_letter_policy.dead_letter_topic,
        max_delivery_attempts=pb.dead_letter_policy.max_delivery_attempts or MIN_DELIVERY_ATTEMPTS,
        retry=_to_retry(pb.retry_policy) if pb.HasField("retry_policy") else None,
        labels=dict(pb.labels),
        expiration_ttl=to_microseconds(pb.expiration_policy.ttl) if expires else None,
    )


def merge_topic(current: TopicSettings, request: Pb) -> TopicSettings:
    """Return `current` with the fields that an UpdateTopicRequest names."""
    paths = _paths(request, "Topic", TopicPb, _TOPIC_FIELDS)
    asked = to_topic_settings(request.topic)
    names = [name for path in paths for name in _TOPIC_FIELDS[path]]
    return replace(current, **{name: getattr(asked, name) for name in names})


def merge_subscription(current: SubscriptionSettings, request: Pb) -> SubscriptionSettings:
    """Return `current` with the fields that an UpdateSubscriptionRequest names."""
    paths = _paths(request, "Subscription", SubscriptionPb, _SUBSCRIPTION_FIELDS)
    asked = to_subscription_settings(request.subscription)
    names = [name for path in paths for name in _SUBSCRIPTION_FIELDS[path]]
    return replace(current, **{name: getattr(asked, name) for name in names})


def from_topic(topic: Topic) -> Pb:
    """Return the Topic that describes a topic."""
    pb = TopicPb(name=topic.name, labels=topic.settings.labels)
    if topic.settings.retention is not None:
        pb.message_retention_duration.FromMicroseconds(topic.settings.retention)
    return pb


def from_subscription(subscription: Subscription) -> Pb:
    """Return the Subscription that describes a subscription."""
    settings = subscription.settings
    pb = SubscriptionPb(
        name=subscription.name,
        topic=subscription.topic.shown_name,
        push_config={},
        ack_deadline_seconds=settings.ack_deadline_seconds,
        retain_acked_messages=settings.retain_acked,
        enable_message_ordering=settings.ordered,
        labels=settings.labels,
    )
    pb.message_retention_duration.FromMicroseconds(settings.retention)
    if settings.dead_letter_topic:
        pb.dead_letter_policy.dead_letter_topic = settings.dead_letter_topic
        pb.dead_letter_policy.max_delivery_attempts = settings.max_delivery_attempts
    if settings.retry:
        pb.retry_policy.minimum_backoff.FromMicroseconds(settings.retry.minimum)
        pb.retry_policy.maximum_backoff.FromMicroseconds(settings.retry.maximum)
    if settings.expiration_ttl is not None:
        pb.expiration_policy.ttl.FromMicroseconds(settings.expiration_ttl)
    topic_retention = subscription.topic.settings.retention
    if topic_retention is not None and not subscription.topic.deleted:
        pb.topic_message_retention_duration.FromMicroseconds(topic_retention)
    return pb


def from_snapshot(snapshot: Snapshot) -> Pb:
    """Return the Snapshot that describes a snapshot."""
    pb = SnapshotPb(name=snapshot.name, topic=snapshot.topic.shown_name, labels=snapshot.labels)
    pb.expire_time.FromMicroseconds(snapshot.expires_at)
    return pb


def add_deliveries(received: Pb, deliveries: Iterable[Delivery], with_attempts: bool) -> None:
    """Append deliveries to the `received_messages` of a response.

    Args:
        received: the repeated field.
        deliveries: what to append.
        with_attempts: fill delivery_attempt, as Pub/Sub does under a dead letter policy.
    """
    for delivery in deliveries:
        pb = received.add()
        pb.ack_id = delivery.ack_id
        if with_attempts:
            pb.delivery_attempt = delivery.attempt
        message, draft = delivery.message, delivery.message.draft
        pb.message.data = draft.data
        pb.message.message_id = message.message_id
        pb.message.ordering_key = draft.ordering_key
        if draft.attributes:
            pb.message.attributes.update(draft.attributes)
        seconds, microseconds = divmod(message.published_at, SECOND)
        pb.message.publish_time.seconds = seconds
        pb.message.publish_time.nanos = microseconds * 1000


def to_microseconds(pb: Pb) -> int:
    """Return a Duration, or a Timestamp since 1970 UTC, in microseconds.

    Raises:
        InvalidArgumentError: beyond 10,000 years, which protobuf's documentation rules out.
    """
    if abs(pb.seconds) > _MAX_SECONDS:
        raise InvalidArgumentError(
            f"{pb.DESCRIPTOR.name} out of range: {pb.seconds} s; at most {_MAX_SECONDS} s"
        )
    return int(pb.seconds) * SECOND + int(pb.nanos) // 1000


def _to_retry(pb: Pb) -> RetryPolicy:
    default = RetryPolicy()
    minimum, maximum = pb.HasField("minimum_backoff"), pb.HasField("maximum_backoff")
    return RetryPolicy(
        to_microseconds(pb.minimum_backoff) if minimum else default.minimum,
        to_microseconds(pb.maximum_backoff) if maximum else default.maximum,
    )


def _refuse_unsupported(pb: Pb, names: tuple[str, ...]) -> None:
    present = {descriptor.name for descriptor, _ in pb.ListFields()}
    if refused := sorted(present.intersection(names)):
        raise UnsupportedError(
            f"{', '.join(refused)} of {pb.name}: not carried out by the embedded Pub/Sub, and "
            "refused so that nobody relies on it; leave it out here"
        )


def _paths(request: Pb, kind: str, pb_type: Pb, mutable: Mapping[str, object]) -> list[str]:
    """Return the update mask's paths.

    Raises:
        InvalidArgumentError: no path, an unknown one, or one that cannot change.
    """
    paths = list(request.update_mask.paths)
    if not paths:
        raise InvalidArgumentError(
            f"The update_mask in the Update{kind}Request must be set, and must contain a "
            "non-empty paths list."
        )
    for path in paths:
        if path in mutable:
            continue
        known = path in pb_type.DESCRIPTOR.fields_by_name
        problem = (
            f"the {path} field in the {kind} is not mutable"
            if known
            else (f"{path} is not a known {kind} field")
        )
        raise InvalidArgumentError(
            f"Invalid update_mask provided in the Update{kind}Request: {problem}; expected some "
            f"of {', '.join(mutable)}"
        )
    return paths
