"""What unmodified clients make of the embedded Pub/Sub, and of Google's emulator for comparison:
google-cloud-pubsub's streaming pull, Beam's DirectRunner, Airflow's PubSubHook.
"""

import itertools
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from google.api_core import exceptions

from tests.sandbox.pubsub.conformance import (
    RECEIVE_SECONDS,
    START_SECONDS,
    Line,
    connected,
    embedded,
    google,
    running,
    until,
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


class TestStreamingPull:
    def test_callbacks_get_everything_and_the_stream_closes_cleanly(self, line):
        texts = [str(number) for number in range(500)]
        received: list[str] = []
        done = threading.Event()

        def take(message) -> None:
            received.append(message.data.decode())
            message.ack()
            if len(received) >= len(texts):
                done.set()

        future = line.subscriber.subscribe(line.subscription, take)
        line.publish(*texts)
        assert done.wait(RECEIVE_SECONDS)
        future.cancel()
        future.result(RECEIVE_SECONDS)  # raises unless the stream ended well
        assert sorted(received, key=int) == texts
        assert line.nothing_comes()

    def test_nack_in_a_callback_redelivers(self, line):
        seen: list[str] = []
        done = threading.Event()

        def take(message) -> None:
            seen.append(message.message_id)
            if len(seen) == 1:
                message.nack()
            else:
                message.ack()
                done.set()

        future = line.subscriber.subscribe(line.subscription, take)
        line.publish("a")
        assert done.wait(RECEIVE_SECONDS)
        future.cancel()
        future.result(RECEIVE_SECONDS)
        assert len(seen) == 2
        assert len(set(seen)) == 1

    def test_missing_subscription_ends_the_future(self, line):
        future = line.subscriber.subscribe(line.subscription + "zz", lambda message: None)
        with pytest.raises(exceptions.NotFound):
            future.result(RECEIVE_SECONDS)

    def test_ordered_keys_in_callbacks(self, clients):
        line = Line(clients, enable_message_ordering=True)
        expected = [str(number) for number in range(50)]
        received: list[str] = []
        done = threading.Event()

        def take(message) -> None:
            received.append(message.data.decode())
            message.ack()
            if len(received) >= len(expected):
                done.set()

        future = line.subscriber.subscribe(line.subscription, take)
        line.publish(*expected, key="k")
        assert done.wait(RECEIVE_SECONDS)
        future.cancel()
        future.result(RECEIVE_SECONDS)
        assert received == expected


BEAM_JOB = """
import sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
options = PipelineOptions(["--runner=DirectRunner", "--streaming", "--project=" + sys.argv[1]])
with beam.Pipeline(options=options) as pipeline:
    source = beam.io.ReadFromPubSub(**{sys.argv[2]: sys.argv[3]})
    pipeline | source | beam.Map(lambda data: print("read " + data.decode(), flush=True))
"""

AIRFLOW_TASK = """
import sys
from airflow.providers.google.cloud.hooks.pubsub import PubSubHook
project, = sys.argv[1:]
hook = PubSubHook()
topic = {"project_id": project, "topic": "made-by-airflow"}
subscription = {"project_id": project, "subscription": "sub-by-airflow"}
hook.create_topic(**topic, fail_if_exists=True)
hook.create_subscription(**topic, subscription="sub-by-airflow", ack_deadline_secs=20)
hook.publish(**topic, messages=[{"data": b"a", "attributes": {"k": "v"}}])
received = hook.pull(**subscription, max_messages=5)
hook.acknowledge(**subscription, messages=received)
hook.delete_subscription(**subscription)
hook.delete_topic(**topic)
print([(item.message.data, dict(item.message.attributes)) for item in received])
"""


def script(code: str, address: str, *arguments: str, **environ: str) -> list[str]:
    pairs = {"PUBSUB_EMULATOR_HOST": address, "PYTHONWARNINGS": "ignore", **environ}
    assignments = [f"{name}={value}" for name, value in pairs.items()]
    return ["env", *assignments, sys.executable, "-c", code, *arguments]


class TestBeam:
    """DirectRunner pulls ten at a time, acknowledges, and repeats for ever."""

    texts: tuple[str, ...] = tuple(str(number) for number in range(35))

    def read(self, process: subprocess.Popen) -> list[str]:
        lines = (line.strip() for line in process.stdout)
        read = (line.removeprefix("read ") for line in lines if line.startswith("read "))
        return list(itertools.islice(read, len(self.texts)))

    def test_reads_a_subscription(self, line, address):
        line.publish(*self.texts)
        project = line.project.split("/")[1]
        command = script(BEAM_JOB, address, project, "subscription", line.subscription)
        with running(command) as process:
            assert sorted(self.read(process), key=int) == list(self.texts)
        assert line.nothing_comes(), "everything was acknowledged"

    def test_reads_a_topic_through_a_subscription_of_its_own(self, line, address):
        project = line.project.split("/")[1]
        with running(script(BEAM_JOB, address, project, "topic", line.topic)) as process:
            until(
                lambda: len(list(line.publisher.list_topic_subscriptions(topic=line.topic))) == 2,
                "Beam's own subscription",
                START_SECONDS,
            )
            line.publish(*self.texts)
            assert sorted(self.read(process), key=int) == list(self.texts)


def test_airflow_hook(line, address, tmp_path):
    project = line.project.split("/")[1]
    connection = '{"conn_type":"google_cloud_platform","extra":{"is_anonymous":true}}'
    command = script(
        AIRFLOW_TASK,
        address,
        project,
        AIRFLOW_HOME=str(tmp_path),
        AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT=connection,
    )
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.splitlines()[-1] == "[(b'a', {'k': 'v'})]"


class TestFaults:
    """Through the clients' own retries; only the embedded one can be told to fail."""

    @pytest.fixture
    def faulty(self) -> Iterator[Line]:
        command = [sys.executable, "-m", "sandbox.pubsub", "--port", "0", "--admin-port", "0"]
        with running(command) as process:
            address, _, self.admin = process.stdout.readline().strip().partition(", admin on ")
            with connected(address.removeprefix("ready on ")) as clients:
                yield Line(clients)

    def fail(self, **fault: object) -> None:
        body = json.dumps(fault).encode()
        urllib.request.urlopen(f"http://{self.admin}/faults", body, timeout=5)

    def test_the_publisher_outlives_unavailable(self, faulty):
        self.fail(kind="unavailable", target="publish", calls=3)
        faulty.publish("a")
        assert faulty.receive_texts(1) == ["a"]
        assert faulty.nothing_comes()

    def test_a_lost_reply_makes_the_publisher_repeat_itself(self, faulty):
        self.fail(kind="lost_reply", calls=1)
        faulty.publish("a")
        received = faulty.receive(2)
        assert [item.message.data for item in received] == [b"a", b"a"]
        assert len({item.message.message_id for item in received}) == 2

    def test_streaming_pull_reconnects(self, faulty):
        received: list[str] = []
        done = threading.Event()

        def take(message) -> None:
            received.append(message.data.decode())
            message.ack()
            if len(received) >= 20:
                done.set()

        self.fail(kind="unavailable", target="subscribe", calls=3)
        future = faulty.subscriber.subscribe(faulty.subscription, take)
        faulty.publish(*map(str, range(20)))
        assert done.wait(RECEIVE_SECONDS)
        future.cancel()
        future.result(RECEIVE_SECONDS)
        assert sorted(received, key=int) == [str(number) for number in range(20)]
