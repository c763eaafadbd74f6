"""The same tests against the embedded Pub/Sub and against Google's emulator, through real clients.

What only one of the two does is not here but in tests/sandbox/pubsub. Google's emulator is used
when Java and its jar are found (see `sandbox.pubsub.google`); else its half is skipped.
"""

import datetime as dt
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from google.api_core import exceptions
from google.pubsub_v1 import PublisherClient as RequestsPublisher

from tests.sandbox.pubsub.conformance import (
    ONCE,
    RECEIVE_SECONDS,
    Line,
    ago,
    connected,
    embedded,
    google,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=[embedded, google], ids=["embedded", "google"])
def address(request) -> Iterator[str]:
    with request.param() as address:
        yield address


@pytest.fixture(scope="module")
def clients(address) -> Iterator[SimpleNamespace]:
    with connected(address) as clients:
        yield clients


@pytest.fixture
def line(clients) -> Line:
    return Line(clients)


class TestNames:
    @pytest.mark.parametrize("name", ["ab", "1abc", "googly", "a b c", "a" * 256])
    def test_malformed(self, line, name):
        with pytest.raises(exceptions.InvalidArgument):
            line.create_topic(name)
        with pytest.raises(exceptions.InvalidArgument):
            line.subscribe(name, line.topic)

    @pytest.mark.parametrize("name", ["abc", "a.b-c_d~e+f%41", "goOgle", "a" * 255])
    def test_well_formed(self, line, name):
        line.subscribe(name, line.create_topic(name))

    def test_taken(self, line):
        with pytest.raises(exceptions.AlreadyExists):
            line.create_topic("trades")
        with pytest.raises(exceptions.AlreadyExists):
            line.subscribe("job", line.topic)

    def test_missing(self, line):
        missing = f"{line.project}/{{}}/missing".format
        publisher, subscriber = line.publisher, line.subscriber
        calls = [
            lambda: publisher.get_topic(topic=missing("topics"), **ONCE),
            lambda: publisher.delete_topic(topic=missing("topics"), **ONCE),
            lambda: publisher.publish(missing("topics"), b"x", retry=None).result(10),
            lambda: line.subscribe("other", missing("topics")),
            lambda: line.pull(subscription=missing("subscriptions")),
            lambda: subscriber.get_subscription(subscription=missing("subscriptions"), **ONCE),
            lambda: subscriber.delete_subscription(subscription=missing("subscriptions"), **ONCE),
            lambda: subscriber.acknowledge(
                subscription=missing("subscriptions"), ack_ids=["a"], **ONCE
            ),
            lambda: subscriber.get_snapshot(snapshot=missing("snapshots"), **ONCE),
            lambda: subscriber.delete_snapshot(snapshot=missing("snapshots"), **ONCE),
            lambda: line.seek(snapshot=missing("snapshots")),
        ]
        for call in calls:
            with pytest.raises(exceptions.NotFound):
                call()


class TestManagement:
    def test_lists_are_complete_over_pages(self, line):
        names = sorted([line.topic, *(line.create_topic(f"topic{n}") for n in range(4))])
        request = {"project": line.project, "page_size": 2}
        listed = [topic.name for topic in line.publisher.list_topics(request=request, **ONCE)]
        assert sorted(listed) == names
        subscriptions = sorted(
            [line.subscription, *(line.subscribe(f"sub{n}", line.topic) for n in range(4))]
        )
        found = line.subscriber.list_subscriptions(request=request, **ONCE)
        assert sorted(item.name for item in found) == subscriptions
        request = {"topic": line.topic, "page_size": 2}
        found = line.publisher.list_topic_subscriptions(request=request, **ONCE)
        assert sorted(found) == subscriptions

    def test_subscription_defaults(self, line):
        shown = line.subscriber.get_subscription(subscription=line.subscription, **ONCE)
        assert shown.topic == line.topic
        assert shown.ack_deadline_seconds == 10
        assert shown.message_retention_duration == dt.timedelta(days=7)
        assert not shown.retain_acked_messages
        assert not shown.enable_message_ordering

    def test_update_subscription(self, line):
        def update(paths: list[str], **fields: object):
            return line.subscriber.update_subscription(
                subscription={"name": line.subscription, **fields},
                update_mask={"paths": paths},
                **ONCE,
            )

        shown = update(["ack_deadline_seconds"], ack_deadline_seconds=33, labels={"a": "b"})
        assert (shown.ack_deadline_seconds, dict(shown.labels)) == (33, {})
        for paths in ([], ["zork"], ["topic"], ["enable_message_ordering"]):
            with pytest.raises(exceptions.InvalidArgument):
                update(paths)

    def test_update_topic_retention(self, line):
        def update(seconds: int):
            return line.publisher.update_topic(
                topic={"name": line.topic, "message_retention_duration": {"seconds": seconds}},
                update_mask={"paths": ["message_retention_duration"]},
                **ONCE,
            )

        assert update(1200).message_retention_duration == dt.timedelta(minutes=20)
        for seconds in (5, 40 * 86_400):
            with pytest.raises(exceptions.InvalidArgument):
                update(seconds)

    @pytest.mark.parametrize(
        "settings",
        [
            {"ack_deadline_seconds": 601},
            {"ack_deadline_seconds": -1},
            {"message_retention_duration": dt.timedelta(seconds=599)},
            {"message_retention_duration": dt.timedelta(days=32)},
        ],
    )
    def test_settings_out_of_bounds(self, line, settings):
        with pytest.raises(exceptions.InvalidArgument):
            line.subscribe("other", line.topic, **settings)

    def test_delivery_attempts_out_of_bounds(self, line):
        for attempts in (4, 101):
            policy = {"dead_letter_topic": line.topic, "max_delivery_attempts": attempts}
            with pytest.raises(exceptions.OutOfRange):
                line.subscribe("other", line.topic, dead_letter_policy=policy)

    def test_subscription_outlives_its_topic(self, line):
        line.publisher.delete_topic(topic=line.topic, **ONCE)
        line.create_topic("trades")
        shown = line.subscriber.get_subscription(subscription=line.subscription, **ONCE)
        assert shown.topic == "_deleted-topic_"


class TestPublish:
    def test_message_arrives_as_it_was_sent(self, line):
        future = line.publisher.publish(line.topic, b"\x00\xff data", source="test", empty="")
        [received] = line.receive(1)
        message = received.message
        assert message.data == b"\x00\xff data"
        assert dict(message.attributes) == {"source": "test", "empty": ""}
        assert message.message_id == future.result(10)
        assert ago(minutes=1) < message.publish_time <= ago(seconds=0)
        assert received.delivery_attempt == 0

    def test_attributes_alone_are_a_message(self, line):
        line.publisher.publish(line.topic, b"", kind="heartbeat").result(10)
        [received] = line.receive(1)
        assert dict(received.message.attributes) == {"kind": "heartbeat"}

    def test_limits(self, line):
        def publish(messages: list[dict]):
            call = RequestsPublisher.publish  # one request, without the batching
            return call(line.publisher, topic=line.topic, messages=messages, **ONCE)

        for messages in ([], [{}], [{"data": b"x"}, {}], [{"data": b"x"}] * 1001):
            with pytest.raises(exceptions.InvalidArgument):
                publish(messages)
        assert len(set(publish([{"data": b"x"}] * 1000).message_ids)) == 1000

    def test_every_subscription_gets_every_message(self, line):
        other = line.subscribe("other", line.topic)
        ids = line.publish("a", "b", "c")
        assert len(set(ids)) == 3
        for subscription in (line.subscription, other):
            received = line.receive(3, subscription)
            assert {item.message.message_id for item in received} == set(ids)

    def test_a_new_subscription_gets_what_comes_later(self, line):
        line.publish("before")
        other = line.subscribe("other", line.topic)
        line.publish("after")
        assert [item.message.data for item in line.receive(1, other)] == [b"after"]

    def test_large_message(self, line):
        line.publish("x" * 3_500_000)
        [received] = line.receive(1)
        assert len(received.message.data) == 3_500_000


class TestPull:
    def test_max_messages(self, line):
        line.publish("a", "b", "c")
        assert len(line.receive(2)) == 2
        assert len(line.receive(1)) == 1

    def test_refuses_no_messages(self, line):
        with pytest.raises(exceptions.InvalidArgument):
            line.pull(0)

    def test_waits_for_a_message(self, line):
        with ThreadPoolExecutor(1) as pool:
            pulling = pool.submit(line.receive, 1)
            line.publish("a")
            assert len(pulling.result(RECEIVE_SECONDS)) == 1

    def test_return_immediately(self, line):
        request = {
            "subscription": line.subscription,
            "max_messages": 1,
            "return_immediately": True,
        }
        began = time.monotonic()
        with pytest.warns(DeprecationWarning, match="return_immediately"):
            response = line.subscriber.pull(request=request, **ONCE)
        assert not response.received_messages
        assert time.monotonic() - began < 2

    def test_acknowledged_messages_do_not_come_back(self, line):
        line.publish("a", "b")
        received = line.receive(2)
        line.deadline(received, 1)
        line.ack(received)
        assert line.nothing_comes()

    def test_deadline_redelivers(self, line):
        line.publish("a")
        [first] = line.receive(1)
        line.deadline([first], 1)
        [again] = line.receive(1)
        assert again.message == first.message
        assert again.ack_id != first.ack_id

    def test_extended_deadline_holds(self, line):
        line.publish("a")
        received = line.receive(1)
        line.deadline(received, 1)
        line.deadline(received, 60)
        assert line.nothing_comes()

    def test_nack_redelivers(self, line):
        line.publish("a")
        [first] = line.receive(1)
        line.deadline([first], 0)
        line.ack([first])  # its ack id is void
        [again] = line.receive(1)
        assert again.message == first.message

    def test_late_ack_counts_until_redelivery(self, line):
        line.publish("a")
        received = line.receive(1)
        line.deadline(received, 1)
        time.sleep(1.5)  # the deadline itself is what is tested
        line.ack(received)
        assert line.nothing_comes()

    def test_old_ack_id_does_not_count_after_redelivery(self, line):
        line.publish("a")
        first = line.receive(1)
        line.deadline(first, 1)
        again = line.receive(1)
        line.ack(first)
        line.deadline(again, 0)
        assert len(line.receive(1)) == 1

    def test_malformed_requests(self, line):
        call = line.subscriber
        for ids in ([], ["zork"]):
            with pytest.raises(exceptions.InvalidArgument):
                call.acknowledge(subscription=line.subscription, ack_ids=ids, **ONCE)
            with pytest.raises(exceptions.InvalidArgument):
                call.modify_ack_deadline(
                    subscription=line.subscription, ack_ids=ids, ack_deadline_seconds=10, **ONCE
                )
        line.publish("a")
        with pytest.raises(exceptions.InvalidArgument):
            line.deadline(line.receive(1), -1)


class TestSeek:
    def test_back_in_time_redelivers_retained_acknowledged_messages(self, clients):
        line = Line(clients, retain_acked_messages=True)
        line.publish("a")
        line.ack(line.receive(1))
        time.sleep(0.1)  # publish times have milliseconds
        between = ago(seconds=0)
        time.sleep(0.1)
        line.publish("b")
        line.ack(line.receive(1))
        line.seek(time=between)
        assert line.receive_texts(1) == ["b"]
        line.seek(time=ago(minutes=1))
        assert sorted(line.receive_texts(2)) == ["a", "b"]

    def test_back_in_time_without_retention_keeps_the_backlog(self, line):
        line.publish("a", "b")
        received = line.receive(2)
        line.ack(received[:1])
        line.seek(time=ago(minutes=1))
        assert [item.message for item in line.receive(1)] == [received[1].message]
        assert line.nothing_comes()

    def test_forward_acknowledges(self, line):
        line.publish("a")
        line.seek(time=ago(minutes=-1))
        assert line.nothing_comes()

    def test_snapshot_restores_the_backlog_and_what_came_later(self, line):
        line.publish("a")
        line.ack(line.receive(1))
        line.publish("b")
        name = f"{line.project}/snapshots/before"
        snapshot = line.subscriber.create_snapshot(
            name=name, subscription=line.subscription, **ONCE
        )
        assert snapshot.topic == line.topic
        line.publish("c")
        line.ack(line.receive(2))
        line.seek(snapshot=name)
        assert sorted(line.receive_texts(2)) == ["b", "c"]
        listed = line.subscriber.list_snapshots(project=line.project, **ONCE)
        assert [item.name for item in listed] == [name]
        with pytest.raises(exceptions.AlreadyExists):
            line.subscriber.create_snapshot(name=name, subscription=line.subscription, **ONCE)
        line.subscriber.delete_snapshot(snapshot=name, **ONCE)

    def test_snapshot_of_another_topic(self, line):
        name = f"{line.project}/snapshots/before"
        other = line.subscribe("other", line.create_topic("other"))
        line.subscriber.create_snapshot(name=name, subscription=other, **ONCE)
        with pytest.raises(exceptions.FailedPrecondition):
            line.seek(snapshot=name)

    def test_needs_a_target(self, line):
        with pytest.raises(exceptions.InvalidArgument):
            line.seek()


class TestDeadLetter:
    def test_forwards_after_the_last_attempt(self, clients):
        line = Line(clients)
        dead = line.create_topic("dead")
        letters = line.subscribe("letters", dead)
        policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
        line.subscription = line.subscribe("strict", line.topic, dead_letter_policy=policy)
        line.publish("a")
        attempts = []
        for _ in range(5):
            received = line.receive(1)
            attempts.append(received[0].delivery_attempt)
            line.deadline(received, 0)
        assert attempts == [1, 2, 3, 4, 5]
        assert line.nothing_comes()  # Google's emulator forwards when it is pulled
        [letter] = line.receive(1, letters)
        assert letter.message.data == b"a"
        added = dict(letter.message.attributes)
        published = added.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
        assert dt.datetime.fromisoformat(published) > ago(minutes=1)
        assert added == {
            "CloudPubSubDeadLetterSourceDeliveryCount": "5",
            "CloudPubSubDeadLetterSourceSubscription": "strict",
            "CloudPubSubDeadLetterSourceSubscriptionProject": line.project.split("/")[1],
        }


class TestOrdering:
    def test_one_key_arrives_in_order_and_not_past_what_is_outstanding(self, clients):
        line = Line(clients, enable_message_ordering=True)
        line.publish(*"abcdef", key="k")
        texts = []
        while len(texts) < 6:
            received = line.receive(1)
            assert line.pull(1, wait=1.5) == [], "the predecessor is outstanding"
            texts += [item.message.data.decode() for item in received]
            line.ack(received)
        assert "".join(texts) == "abcdef"

    def test_another_key_is_not_held_up(self, clients):
        line = Line(clients, enable_message_ordering=True)
        line.publish("a", "b", key="k")
        line.publish("z", key="other")
        first = line.receive(1)
        [second] = line.receive(1)
        assert {first[0].message.ordering_key, second.message.ordering_key} == {"k", "other"}
