"""The two Pub/Subs that are held against each other, and a test's own topic in one of them.

Used by tests/integration/test_pubsub_conformance.py (what the service does) and test_clients.py
(what its clients make of it).
"""

import contextlib
import datetime as dt
import itertools
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from google.cloud import pubsub_v1

from sandbox.pubsub.google import find_google_emulator

ONCE = {"retry": None, "timeout": 10}
START_SECONDS = 60
RECEIVE_SECONDS = 20
numbers = itertools.count(1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def until(condition: Callable[[], object], what: str, seconds: float = RECEIVE_SECONDS) -> object:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(f"http://{address}/", timeout=1).status == 200
    except OSError:
        return False


@contextlib.contextmanager
def embedded() -> Iterator[str]:
    with embedded_with_admin() as (address, _):
        yield address


@contextlib.contextmanager
def embedded_with_admin() -> Iterator[tuple[str, str]]:
    command = [sys.executable, "-m", "sandbox.pubsub", "--port", "0", "--admin-port", "0"]
    with running(command) as process:
        line = process.stdout.readline()
        found = re.fullmatch(r"ready on (\S+), admin on (\S+)\n", line)
        assert found, line
        yield found[1], f"http://{found[2]}"


@contextlib.contextmanager
def google() -> Iterator[str]:
    command = find_google_emulator()
    if command is None:
        pytest.skip("Google's Pub/Sub emulator: Java or cloud-pubsub-emulator-*-all.jar not found")
    port = free_port()
    with running([*command, "--host=127.0.0.1", f"--port={port}"]):
        until(lambda: answers(f"127.0.0.1:{port}"), "Google's emulator is up", START_SECONDS)
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def connected(address: str) -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", address)
        ordered = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
        publisher = pubsub_v1.PublisherClient(publisher_options=ordered)
        with pubsub_v1.SubscriberClient() as subscriber:
            yield SimpleNamespace(publisher=publisher, subscriber=subscriber)
        publisher.stop()
        publisher.transport.close()


class Line:
    """One topic with one subscription of a test's own, and short verbs."""

    def __init__(self, clients: SimpleNamespace, **settings: object) -> None:
        self.publisher, self.subscriber = clients.publisher, clients.subscriber
        self.project = f"projects/conformance-{os.getpid()}-{next(numbers)}"
        self.topic = self.create_topic("trades")
        self.subscription = self.subscribe("job", self.topic, **settings)

    def create_topic(self, name: str) -> str:
        return self.publisher.create_topic(name=f"{self.project}/topics/{name}", **ONCE).name

    def subscribe(self, name: str, topic: str, **settings: object) -> str:
        request = {"name": f"{self.project}/subscriptions/{name}", "topic": topic, **settings}
        return self.subscriber.create_subscription(request=request, **ONCE).name

    def publish(self, *texts: str, key: str = "") -> list[str]:
        futures = [
            self.publisher.publish(self.topic, text.encode(), ordering_key=key) for text in texts
        ]
        return [future.result(10) for future in futures]

    def pull(self, count: int = 100, subscription: str | None = None, wait: float = 4) -> list:
        response = self.subscriber.pull(
            subscription=subscription or self.subscription,
            max_messages=count,
            retry=None,
            timeout=wait,
        )
        return list(response.received_messages)

    def receive(self, count: int, subscription: str | None = None) -> list:
        """Pull until `count` have come; Google's emulator may hand them out in parts."""
        received: list = []
        until(
            lambda: (
                received.extend(self.pull(count - len(received), subscription))
                or len(received) >= count
            ),
            f"{count} messages",
        )
        return received

    def receive_texts(self, count: int) -> list[str]:
        return [item.message.data.decode() for item in self.receive(count)]

    def ack(self, received: list) -> None:
        ids = [item.ack_id for item in received]
        self.subscriber.acknowledge(subscription=self.subscription, ack_ids=ids, **ONCE)

    def deadline(self, received: list, seconds: int) -> None:
        self.subscriber.modify_ack_deadline(
            subscription=self.subscription,
            ack_ids=[item.ack_id for item in received],
            ack_deadline_seconds=seconds,
            **ONCE,
        )

    def seek(self, **target: object) -> None:
        self.subscriber.seek(request={"subscription": self.subscription, **target}, **ONCE)

    def nothing_comes(self) -> bool:
        return self.pull(wait=2.5) == []


def ago(**delta: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) - dt.timedelta(**delta)
