"""Publishing frames through google-cloud-pubsub, to Pub/Sub or an emulator of it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Final, cast

from google.api_core import retry
from google.cloud import pubsub_v1

from collector.spool import SpooledFrame

# A frame is a batch already: wait only a moment for company.
_BATCHES: Final = pubsub_v1.types.BatchSettings(
    max_messages=100, max_bytes=4 * 1024 * 1024, max_latency=0.005
)
# The client repeats within this time, then the outbox takes over with its own back-off.
_RETRY_SECONDS: Final = 30.0


class PubSubPublisher:
    """Publishes each frame as one message.

    The attributes let subscriptions filter without unpacking.

    Args:
        project: project of the topic.
        topic: id of the topic.
    """

    def __init__(self, project: str, topic: str) -> None:
        self._client = pubsub_v1.PublisherClient(batch_settings=_BATCHES)
        self._topic = self._client.topic_path(project, topic)
        self._retry = retry.Retry(
            predicate=retry.if_transient_error, initial=0.1, maximum=5.0, timeout=_RETRY_SECONDS
        )

    def publish(self, frame: SpooledFrame) -> Future[str]:
        """Start publishing a frame; the future ends with the message id or the failure."""
        future = self._client.publish(
            self._topic,
            frame.data,
            retry=self._retry,
            timeout=_RETRY_SECONDS,
            frame_id=frame.frame_id,
            market=frame.market,
            channel=frame.channel,
            collector=frame.collector,
        )
        return cast("Future[str]", future)

    def close(self) -> None:
        """Send what is batched and wait for the answers, within the client's own limits."""
        self._client.stop()
