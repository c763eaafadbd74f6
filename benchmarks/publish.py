"""Publisher: frames through google-cloud-pubsub to acknowledgement, on one core.

`python -m benchmarks.publish TRADES` is the measured process; it needs PUBSUB_EMULATOR_HOST and a
topic. One trade a message, the usual way, is measured beside it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from google.cloud import pubsub_v1

from benchmarks.tools import made_up_trades, run_json
from collector.publisher import PubSubPublisher
from collector.sealing import Sealer
from collector.settings import Settings
from collector.spool import SpooledFrame

_IN_FLIGHT = 200
PROJECT = "crypto-local"


@dataclass(frozen=True, slots=True)
class _Message:
    """What is published at once, and how many trades it carries."""

    data: bytes
    trades: int


def frames_of(messages: list[bytes]) -> list[_Message]:
    """Return messages as a collector would publish them."""
    sealer = Sealer(market="spot", collector="bench", epoch=1, with_quantities=False)
    size = Settings().frame_lines
    now = time.time_ns()
    return [
        _Message(frame.data, frame.header.lines)
        for start in range(0, len(messages), size)
        for frame in sealer.seal(
            messages[start : start + size], [now] * len(messages[start : start + size])
        ).frames
    ]


def _publish(messages: list[_Message], topic: str) -> dict[str, float]:
    publisher = PubSubPublisher(PROJECT, topic)
    waiting: deque[Future[str]] = deque()
    started, cpu = time.perf_counter(), time.process_time()
    for number, message in enumerate(messages):
        frame = SpooledFrame(number, str(number), "spot", "trade", "bench", 1, message.data)
        waiting.append(publisher.publish(frame))
        if len(waiting) > _IN_FLIGHT:
            waiting.popleft().result(60)
    while waiting:
        waiting.popleft().result(60)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    publisher.close()
    trades = sum(message.trades for message in messages)
    return {
        "trades": trades,
        "per_second": trades / seconds,
        "cpu_s_per_million": cpu / trades * 1e6,
        "bytes_per_trade": sum(len(message.data) for message in messages) / trades,
    }


def _main(trades: int) -> dict[str, dict[str, float]]:
    topic = f"bench-{time.time_ns()}"
    client = pubsub_v1.PublisherClient()
    client.create_topic(name=client.topic_path(PROJECT, topic))
    messages = made_up_trades(trades)
    single = [_Message(message, 1) for message in messages[:20_000]]
    return {
        "frames": _publish(frames_of(messages), topic),
        "one trade a message": _publish(single, topic),
    }


def measure(trades: int, environment: dict[str, str]) -> list[dict[str, object]]:
    """Measure frames and single messages on core 0."""
    found = run_json(["-m", "benchmarks.publish", str(trades)], core=0, environment=environment)
    return [{"way": way, **values} for way, values in found.items()]


if __name__ == "__main__":
    os.environ.setdefault("GOOGLE_CLOUD_PROJECT", PROJECT)
    print(json.dumps(_main(int(sys.argv[1]))))
