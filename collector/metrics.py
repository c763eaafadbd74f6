"""Prometheus metrics of the collector, read off its parts when they are scraped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from collector.connection import ConnectionState
from collector.outbox import Outbox


class CollectorMetrics(Collector):
    """Turns the state of the service into metrics; keeps no numbers of its own but messages.

    Args:
        outbox: spool and publisher.
        connections: returns name and state of each connection.
    """

    def __init__(
        self, outbox: Outbox, connections: Callable[[], Sequence[tuple[str, ConnectionState]]]
    ) -> None:
        self.messages: Counter[str] = Counter()
        self.control_errors = 0
        self.is_paused = False
        self._outbox = outbox
        self._connections = connections

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        counts = self._outbox.counts
        yield _by_label("collector_messages", "Messages received.", "channel", self.messages)
        yield _counter("collector_spooled_frames", "Frames made durable.", counts.spooled_frames)
        yield _counter("collector_spooled_lines", "Lines made durable.", counts.spooled_lines)
        yield _counter(
            "collector_published_frames", "Frames acknowledged.", counts.published_frames
        )
        yield _counter("collector_published_lines", "Lines acknowledged.", counts.published_lines)
        yield _counter(
            "collector_failed_publishes", "Publishes that failed.", counts.failed_publishes
        )
        yield _counter(
            "collector_failed_commits", "Spool writes that failed.", counts.failed_commits
        )
        yield _counter(
            "collector_control_errors", "Errors the exchange sent us.", self.control_errors
        )
        yield _gauge(
            "collector_pending_frames", "Frames not acknowledged yet.", self._outbox.pending_frames
        )
        yield _gauge("collector_spool_bytes", "Size of waiting frames.", self._outbox.spool_bytes)
        yield _gauge("collector_reading_paused", "1 while the spool is full.", self.is_paused)
        states = self._connections()
        yield _by_label(
            "collector_connects",
            "Connections made.",
            "connection",
            {name: state.connects for name, state in states},
        )
        yield _gauge(
            "collector_open_connections",
            "Connections open now.",
            sum(state.is_open for _, state in states),
        )


def new_registry(metrics: CollectorMetrics) -> CollectorRegistry:
    """Return a registry with these metrics and the process's own."""
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    return registry


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by_label(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
