import pytest

from sandbox.pubsub.errors import (
    InvalidArgumentError,
    OutOfRangeError,
    ResourceExhaustedError,
)
from sandbox.pubsub.model import (
    DAY,
    MAX_PUBLISH_BYTES,
    MINUTE,
    SECOND,
    Consumer,
    Draft,
    Message,
    MessagePool,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
    check_publish,
)


@pytest.mark.parametrize(
    ("drafts", "reason"),
    [
        ([], "No messages"),
        ([Draft(b"")], "empty"),
        ([Draft(b"x"), Draft(b"", {}, "key")], "empty"),
        ([Draft(b"x")] * 1001, "Too many messages to publish: 1001"),
        ([Draft(b"x" * (MAX_PUBLISH_BYTES + 1))], "exceeds the limit"),
        ([Draft(b"x" * (MAX_PUBLISH_BYTES // 2 + 1))] * 2, "exceeds the limit"),
        ([Draft(b"x", {}, "k" * 1025)], "ordering_key"),
        ([Draft(b"x", {str(n): "" for n in range(101)})], "too many attributes: 101"),
        ([Draft(b"x", {"": "v"})], "bad attribute key ''"),
        ([Draft(b"x", {"googly": "v"})], "'googly'"),
        ([Draft(b"x", {"k" * 257: "v"})], "bad attribute key"),
        ([Draft(b"x", {"k": "ä" * 513})], "attribute 'k'"),
    ],
)
def test_publish_limits(drafts, reason):
    with pytest.raises(InvalidArgumentError, match=reason):
        check_publish(drafts)


def test_publish_takes_the_limits_themselves():
    assert check_publish([Draft(b"x" * MAX_PUBLISH_BYTES)]) == MAX_PUBLISH_BYTES
    assert check_publish([Draft(b"x")] * 1000) == 1000
    assert check_publish([Draft(b"", {"k": "v"})]) == 2


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (SubscriptionSettings(ack_deadline_seconds=9), InvalidArgumentError),
        (SubscriptionSettings(ack_deadline_seconds=601), InvalidArgumentError),
        (SubscriptionSettings(retention=10 * MINUTE - 1), InvalidArgumentError),
        (SubscriptionSettings(retention=31 * DAY + 1), InvalidArgumentError),
        (SubscriptionSettings(max_delivery_attempts=4), OutOfRangeError),
        (SubscriptionSettings(max_delivery_attempts=101), OutOfRangeError),
        (SubscriptionSettings(retry=RetryPolicy(2 * SECOND, SECOND)), InvalidArgumentError),
        (SubscriptionSettings(retry=RetryPolicy(0, 601 * SECOND)), InvalidArgumentError),
        (TopicSettings(retention=MINUTE), InvalidArgumentError),
    ],
)
def test_settings_out_of_bounds(settings, error):
    with pytest.raises(error, match="out of bounds"):
        settings.check()


def test_settings_at_their_bounds():
    SubscriptionSettings(ack_deadline_seconds=600, retention=31 * DAY).check()
    TopicSettings(retention=10 * MINUTE).check()


def test_retry_doubles_up_to_its_maximum():
    policy = RetryPolicy(SECOND, 5 * SECOND)
    assert [policy.delay(n) // SECOND for n in (1, 2, 3, 4, 5, 10_000)] == [1, 2, 4, 5, 5, 5]


def test_pool_counts_a_shared_message_once():
    pool = MessagePool(100)
    message = Message("1", 1, 0, Draft(b"x"), size=60)
    pool.hold(message)
    pool.hold(message)
    assert pool.bytes == 60
    with pytest.raises(ResourceExhaustedError, match="60 of 100 bytes are held and 41 more"):
        pool.check_room(41)
    pool.check_room(40)
    pool.release(message)
    assert pool.bytes == 60
    pool.release(message)
    assert pool.bytes == 0


@pytest.mark.parametrize(
    ("consumer", "room"),
    [
        (Consumer(), True),
        (Consumer(0, -1, messages=10**6, bytes=10**9), True),
        (Consumer(2, 0, messages=1), True),
        (Consumer(2, 0, messages=2), False),
        (Consumer(0, 10, bytes=9), True),
        (Consumer(0, 10, bytes=10), False),
    ],
)
def test_flow_control_room(consumer, room):
    assert consumer.has_room() is room
