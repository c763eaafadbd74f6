import pytest

from sandbox.pubsub.errors import InvalidArgumentError, UnsupportedError
from sandbox.pubsub.model import (
    DAY,
    SECOND,
    Delivery,
    Draft,
    Message,
    MessagePool,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
)
from sandbox.pubsub.subscription import Subscription
from sandbox.pubsub.topic import MessageLog, Snapshot, Topic
from sandbox.pubsub.wire import (
    SubscriptionPb,
    TopicPb,
    add_deliveries,
    from_snapshot,
    from_subscription,
    from_topic,
    merge_subscription,
    merge_topic,
    pb_class,
    to_draft,
    to_microseconds,
    to_subscription_settings,
    to_topic_settings,
)

NAME = "projects/p/subscriptions/job"
POOL = MessagePool(1000)


def topic(**settings: object) -> Topic:
    return Topic("projects/p/topics/trades", TopicSettings(**settings), POOL)


@pytest.mark.parametrize(
    "settings",
    [TopicSettings(), TopicSettings({"team": "market"}, retention=DAY)],
)
def test_topic_round_trip(settings):
    pb = from_topic(Topic("projects/p/topics/trades", settings, POOL))
    assert pb.name == "projects/p/topics/trades"
    assert to_topic_settings(pb) == settings


@pytest.mark.parametrize(
    "settings",
    [
        SubscriptionSettings(),
        SubscriptionSettings(
            ack_deadline_seconds=42,
            retain_acked=True,
            retention=DAY,
            ordered=True,
            dead_letter_topic="projects/p/topics/dead",
            max_delivery_attempts=7,
            retry=RetryPolicy(1_500_000, 20 * SECOND),
            labels={"a": "b"},
            expiration_ttl=2 * DAY,
        ),
    ],
)
def test_subscription_round_trip(settings):
    pb = from_subscription(
        Subscription(NAME, topic(retention=DAY), 1, settings, POOL, lambda *_: False)
    )
    assert to_subscription_settings(pb) == settings
    assert pb.topic == "projects/p/topics/trades"
    assert to_microseconds(pb.topic_message_retention_duration) == DAY


@pytest.mark.parametrize("seconds", [315_576_000_001, -315_576_000_001, 2**63 - 1])
def test_a_time_beyond_protobufs_range_is_refused(seconds):
    pb = SubscriptionPb(name=NAME, expiration_policy={"ttl": {"seconds": seconds}})
    with pytest.raises(InvalidArgumentError, match=rf"Duration out of range: {seconds} s"):
        to_subscription_settings(pb)


def test_defaults_of_the_policies():
    pb = SubscriptionPb(name=NAME, dead_letter_policy={}, retry_policy={})
    settings = to_subscription_settings(pb)
    assert settings.max_delivery_attempts == 5
    assert settings.retry == RetryPolicy(10 * SECOND, 600 * SECOND)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"filter": 'attributes.a = "b"'}, "filter of projects/p/subscriptions/job"),
        ({"enable_exactly_once_delivery": True}, "enable_exactly_once_delivery"),
        ({"bigquery_config": {"table": "p.d.t"}}, "bigquery_config"),
        ({"push_config": {"push_endpoint": "http://127.0.0.1"}}, "push_config"),
    ],
)
def test_refuses_what_it_would_not_carry_out(fields, reason):
    with pytest.raises(UnsupportedError, match=reason):
        to_subscription_settings(SubscriptionPb(name=NAME, **fields))


def test_refuses_schemas():
    with pytest.raises(UnsupportedError, match="schema_settings"):
        to_topic_settings(TopicPb(schema_settings={"schema": "projects/p/schemas/s"}))


def test_update_changes_the_named_fields_only():
    current = SubscriptionSettings(retain_acked=True, ack_deadline_seconds=20)
    request = pb_class("UpdateSubscriptionRequest")(
        subscription={"ack_deadline_seconds": 30, "labels": {"a": "b"}},
        update_mask={"paths": ["ack_deadline_seconds"]},
    )
    assert merge_subscription(current, request) == SubscriptionSettings(
        retain_acked=True, ack_deadline_seconds=30
    )


def test_update_of_a_topic():
    request = pb_class("UpdateTopicRequest")(
        topic={"message_retention_duration": {"seconds": 600}},
        update_mask={"paths": ["message_retention_duration"]},
    )
    expected = TopicSettings({"a": "b"}, retention=600 * SECOND)
    assert merge_topic(TopicSettings({"a": "b"}), request) == expected


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        ([], "non-empty paths"),
        (["zork"], "zork is not a known Subscription field"),
        (["enable_message_ordering"], "not mutable"),
        (["labels", "topic"], "not mutable"),
    ],
)
def test_update_mask_mistakes(paths, reason):
    request = pb_class("UpdateSubscriptionRequest")(update_mask={"paths": paths})
    with pytest.raises(InvalidArgumentError, match=reason):
        merge_subscription(SubscriptionSettings(), request)


def test_message_round_trip():
    draft = Draft(b"\x00\xff", {"k": "ä"}, "key")
    at = 1_700_000_000_123_456
    delivery = Delivery("1:2", Message("77", 1, at, draft, 10), attempt=3)
    response = pb_class("PullResponse")()
    add_deliveries(response.received_messages, [delivery], with_attempts=True)
    add_deliveries(response.received_messages, [delivery], with_attempts=False)
    first, second = response.received_messages
    assert to_draft(first.message) == draft
    assert (first.ack_id, first.message.message_id, first.delivery_attempt) == ("1:2", "77", 3)
    assert to_microseconds(first.message.publish_time) == at
    assert second.delivery_attempt == 0


def test_snapshot():
    snapshot = Snapshot("projects/p/snapshots/one", topic(), {"a": "b"}, 5, MessageLog(POOL))
    pb = from_snapshot(snapshot)
    assert (pb.name, pb.topic) == ("projects/p/snapshots/one", "projects/p/topics/trades")
    assert (dict(pb.labels), to_microseconds(pb.expire_time)) == ({"a": "b"}, 5)
