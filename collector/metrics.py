"""Prometheus metrics of the collector, read off its parts when they are scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from collector.budget import Budget
from collector.continuity import Continuity
from collector.intake import Intake
from collector.lane import LaneState
from collector.outbox import Outbox


class CollectorMetrics(Collector):
    """Turns the state of the service into metrics; keeps no numbers of its own but one.

    Args:
        outbox: spool and publisher.
        connections: returns name and state of each lane.
        intake: what came and what was dropped.
        continuity: what is missing.
        budget: the weight of REST.
    """

    def __init__(
        self,
        outbox: Outbox,
        connections: Callable[[], Sequence[tuple[str, LaneState]]],
        intake: Intake,
        continuity: Continuity,
        budget: Budget,
    ) -> None:
        self.control_errors = 0
        self._outbox = outbox
        self._connections = connections
        self._intake = intake
        self._continuity = continuity
        self._budget = budget

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        counts = self._outbox.counts
        yield from self._holes()
        intake = self._intake
        yield _by_label("collector_messages", "Messages received.", "channel", intake.messages)
        yield _by_label(
            "collector_dropped_messages",
            "Messages dropped because the spool was full.",
            "channel",
            intake.dropped,
        )
        yield _counter(
            "collector_duplicate_messages",
            "Messages dropped because another connection had delivered them.",
            intake.duplicates,
        )
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
        yield _gauge("collector_dropping", "1 while messages are dropped.", intake.is_dropping)
        states = self._connections()
        yield _by_label(
            "collector_connects",
            "Connections made.",
            "connection",
            {name: state.connects for name, state in states},
        )
        yield _by_label(
            "collector_rotations",
            "Connections replaced before they ended.",
            "connection",
            {name: state.rotations for name, state in states},
        )
        yield _gauge(
            "collector_subscribed_streams",
            "Streams that the exchange has acknowledged.",
            sum(state.streams for _, state in states),
        )
        yield _gauge(
            "collector_open_connections",
            "Connections open now.",
            sum(state.is_open for _, state in states),
        )

    def _holes(self) -> Iterator[Metric]:
        """Yield what is missing, what became of it, and what REST may be asked."""
        continuity, ended = self._continuity, self._intake.ended
        yield _gauge(
            "collector_open_holes", "Holes that are open.", sum(1 for _ in continuity.holes())
        )
        yield _gauge("collector_missing_ids", "Ids in open holes.", continuity.missing_ids)
        yield _by_label("collector_holes", "Holes found.", "cause", continuity.found)
        yield _by_label("collector_hole_ids", "Ids of closed holes.", "outcome", ended)
        yield _counter("collector_late_ids", "Ids that came late.", self._intake.late)
        yield _by_label("collector_repeated_ids", "Ids kept again.", "channel", continuity.repeats)
        yield _counter("collector_id_resets", "Jumps of ids far back.", continuity.resets)
        yield _counter("collector_rest_weight", "Weight of our requests.", self._budget.spent)
        yield _gauge("collector_rest_used_weight", "Weight used in this minute.", self._budget.used)
        yield _gauge(
            "collector_rest_paused_until", "REST is not asked before.", self._budget.paused_until
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


def _by_label(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
