"""`python -m sandbox.pubsub --journal` as a process that is killed while clients use it."""

import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.api_core import exceptions

from tests.sandbox.pubsub.conformance import ONCE, Line, connected, free_port, until

pytestmark = pytest.mark.integration


class Server:
    """`python -m sandbox.pubsub --journal` on one port, life after life."""

    def __init__(self, journal: Path) -> None:
        self.port = free_port()
        self._command = [
            *(sys.executable, "-m", "sandbox.pubsub"),
            *("--journal", str(journal), "--port", str(self.port)),
        ]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Server":
        process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        self._process = process
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready on 127.0.0.1:{self.port}\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self.end(signal.SIGTERM) == 0

    def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        with self._process as process:
            return process.wait(15)

    def kill_and_start(self) -> None:
        self.end(signal.SIGKILL)
        self.__enter__()


@contextmanager
def in_a_thread(work: Callable[[threading.Event], None]) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
    assert not thread.is_alive()


class Traffic:
    """A publisher and a consumer, which note what the server told them."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.published: set[str] = set()
        self.delivered: set[str] = set()
        self.acknowledged: set[str] = set()
        self.repeated: set[str] = set()

    def publish(self, over: threading.Event) -> None:
        for first in itertools.count(0, 20):
            if over.is_set():
                break
            texts = [str(first + each) for each in range(20)]
            messages = [{"data": text.encode()} for text in texts]
            with unavailable_now_and_then():
                self.line.publisher.api.publish(topic=self.line.topic, messages=messages, **ONCE)
                self.published |= set(texts)

    def consume(self, over: threading.Event) -> None:
        while not over.is_set() or self.published - self.delivered:
            with unavailable_now_and_then():
                batch = self.line.pull(50, wait=5)
                texts = {item.message.data.decode() for item in batch}
                self.delivered |= texts
                self.repeated |= texts & self.acknowledged
                if batch:
                    self.line.ack(batch)
                    self.acknowledged |= texts


@contextmanager
def unavailable_now_and_then() -> Iterator[None]:
    try:
        yield
    except exceptions.ServiceUnavailable:
        time.sleep(0.01)


class TestProcess:
    def test_kill_9_at_any_time_loses_nothing_and_repeats_nothing_acknowledged(
        self, tmp_path: Path
    ) -> None:
        chance = random.Random(5)
        with (
            Server(tmp_path / "journal.db") as server,
            connected(f"127.0.0.1:{server.port}") as clients,
        ):
            traffic = Traffic(Line(clients))
            with in_a_thread(traffic.consume), in_a_thread(traffic.publish):
                for _ in range(5):
                    least = len(traffic.acknowledged) + 200
                    until(lambda least=least: len(traffic.acknowledged) >= least, "some messages")
                    time.sleep(chance.uniform(0, 0.2))
                    server.kill_and_start()
        assert len(traffic.published) > 1000
        assert traffic.published <= traffic.delivered
        assert not traffic.repeated

    def test_a_journal_in_use_ends_with_2(self, tmp_path: Path) -> None:
        journal = tmp_path / "journal.db"
        command = [sys.executable, "-m", "sandbox.pubsub", "--port", "0", "--journal", str(journal)]
        with Server(journal):
            second = subprocess.run(
                command, capture_output=True, text=True, timeout=60, check=False
            )
        assert second.returncode == 2
        assert "another process uses it" in second.stderr

    def test_a_topic_is_known_again_after_an_orderly_stop(self, tmp_path: Path) -> None:
        name, server = "projects/crypto-local/topics/known", Server(tmp_path / "journal.db")
        with connected(f"127.0.0.1:{server.port}") as clients:
            with server:
                clients.publisher.create_topic(name=name, **ONCE)
            with server:
                assert clients.publisher.get_topic(topic=name, **ONCE).name == name
