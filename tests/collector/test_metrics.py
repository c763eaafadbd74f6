from concurrent.futures import Future
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from collector.budget import Budget
from collector.continuity import Continuity
from collector.intake import Intake
from collector.lane import LaneState
from collector.metrics import CollectorMetrics, new_registry
from collector.outbox import Outbox
from collector.sealing import Sealer
from collector.spool import Spool, SpooledFrame

STATES = [
    ("trade-0", LaneState(is_open=True, connects=3, rotations=2, streams=9)),
    ("kline_1m-0", LaneState(is_open=True, connects=1, streams=2)),
    ("aggTrade-0", LaneState(failures=2)),
]


class NoBroker:
    def publish(self, frame: SpooledFrame) -> Future[str]:
        raise AssertionError(f"nothing is published here, not even {frame}")

    def close(self) -> None:
        pass


@pytest.fixture
def metrics(tmp_path: Path) -> CollectorMetrics:
    outbox = Outbox(Spool(tmp_path), NoBroker(), max_spool_bytes=1000)
    outbox.counts.spooled_frames, outbox.counts.spooled_lines = 5, 500
    outbox.counts.published_frames, outbox.counts.published_lines = 4, 400
    outbox.counts.failed_publishes, outbox.counts.failed_commits = 2, 1
    sealer = Sealer(market="spot", collector="c1", epoch=1, with_quantities=False)
    continuity = Continuity("spot")
    intake = Intake(
        sealer, continuity, outbox, run_id="c1/1", frame_bytes=1000, heal_max_ids=10, grace=1.0
    )
    return CollectorMetrics(outbox, lambda: STATES, intake, continuity, Budget())


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_state_of_the_outbox(metrics: CollectorMetrics) -> None:
    registry = new_registry(metrics)
    assert {
        name: value(registry, f"collector_{name}_total")
        for name in (
            *("spooled_frames", "spooled_lines", "published_frames", "published_lines"),
            *("failed_publishes", "failed_commits", "control_errors"),
        )
    } == {
        "spooled_frames": 5,
        "spooled_lines": 500,
        "published_frames": 4,
        "published_lines": 400,
        "failed_publishes": 2,
        "failed_commits": 1,
        "control_errors": 0,
    }
    assert value(registry, "collector_pending_frames") == 0
    assert value(registry, "collector_spool_bytes") == 0


def test_messages_are_counted_by_channel(metrics: CollectorMetrics) -> None:
    metrics._intake.messages.update({"trade": 10, "control": 1})
    metrics._intake.messages.update({"trade": 5})
    metrics._intake.dropped.update({"kline": 7})
    registry = new_registry(metrics)
    assert value(registry, "collector_dropped_messages_total", channel="kline") == 7
    assert value(registry, "collector_messages_total", channel="trade") == 15
    assert value(registry, "collector_messages_total", channel="control") == 1


def test_connections(metrics: CollectorMetrics) -> None:
    registry = new_registry(metrics)
    assert value(registry, "collector_open_connections") == 2
    assert value(registry, "collector_connects_total", connection="trade-0") == 3
    assert value(registry, "collector_connects_total", connection="aggTrade-0") == 0
    assert value(registry, "collector_rotations_total", connection="trade-0") == 2
    assert value(registry, "collector_subscribed_streams") == 11


def test_a_scrape_shows_the_present(metrics: CollectorMetrics) -> None:
    registry = new_registry(metrics)
    assert value(registry, "collector_dropping") == 0
    metrics._intake.is_dropping, metrics.control_errors = True, 3
    assert value(registry, "collector_dropping") == 1
    assert value(registry, "collector_control_errors_total") == 3


def test_what_is_missing_and_what_rest_may_be_asked(metrics: CollectorMetrics) -> None:
    registry = new_registry(metrics)
    metrics._continuity.missing_ids = 7
    metrics._continuity.found["restart"] = 1
    metrics._intake.ended["healed"] = 30
    metrics._budget.spend(25, 60.0)
    metrics._budget.answered(418, {"x-mbx-used-weight-1m": "6001", "Retry-After": "300"}, 61.0)
    assert {
        name: value(registry, f"collector_{name}")
        for name in (
            *("missing_ids", "open_holes", "id_resets_total", "late_ids_total"),
            *("rest_weight_total", "rest_used_weight", "rest_paused_until"),
        )
    } == {
        "missing_ids": 7,
        "open_holes": 0,
        "id_resets_total": 0,
        "late_ids_total": 0,
        "rest_weight_total": 25,
        "rest_used_weight": 6001,
        "rest_paused_until": 361.0,
    }
    assert value(registry, "collector_holes_total", cause="restart") == 1
    assert value(registry, "collector_hole_ids_total", outcome="healed") == 30


def test_prometheus_reads_it(metrics: CollectorMetrics) -> None:
    text = generate_latest(new_registry(metrics)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert "process_resident_memory_bytes" in families
    ours = [family for name, family in families.items() if name.startswith("collector_")]
    assert len(ours) == 27
    assert all(
        family.documentation.endswith(".") or "1 while" in family.documentation for family in ours
    )
