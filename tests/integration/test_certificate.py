"""The certificate's auditor, against the real clients."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.cloud import pubsub_v1

from market_data.frames import Frame, FrameHeader, encode_frame
from sandbox.certificate.stages import read_published
from tests.integration.conftest import PubSub, new_project

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

FRAMES = 20


def big_frame(sequence: int) -> bytes:
    """Return a frame of some 390 KB, nearly the largest: its one line does not compress."""
    noise = random.Random(sequence).randbytes(380_000).hex().encode()
    header = FrameHeader(
        frame_id=f"test-1-{sequence}",
        collector="test",
        epoch=1,
        sequence=sequence,
        market="spot",
        channel="trade",
        source="stream",
        lines=1,
        opened_at=1,
        closed_at=1,
    )
    return encode_frame(Frame(header, b'{"noise":"' + noise + b'"}\n'))


def test_large_frames_come_in_one_answer(
    each_pubsub: PubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty frames are more than the 4 MB that a gRPC client takes by default."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", each_pubsub.grpc_host)
    project = new_project()
    topic, subscription = f"projects/{project}/topics/all", f"projects/{project}/subscriptions/all"
    with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        publisher.create_topic(name=topic, retry=None, timeout=15)
        subscriber.create_subscription(name=subscription, topic=topic, retry=None, timeout=15)
        sent = [publisher.publish(topic, big_frame(n)) for n in range(1, 1 + FRAMES)]
        assert all(future.result(15) for future in sent)
    platform = SimpleNamespace(
        pubsub_host=each_pubsub.grpc_host, project=project, audit_subscription="all", home=Path()
    )
    found = [frame.header.sequence for frame in read_published(platform, FRAMES)]
    assert sorted(set(found)) == list(range(1, 1 + FRAMES))
