from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self

import pytest

from beam_jobs import resume
from beam_jobs.resume import seek_back

SUBSCRIPTION = "projects/p/subscriptions/frames"
UNTIL = datetime(2026, 2, 2, 2, 40, 0, 123_456, tzinfo=UTC)
RETENTION = timedelta(hours=1)


class FakeSubscriber:
    def __init__(self) -> None:
        self.seeks: list[dict[str, Any]] = []

    def get_subscription(self, subscription: str, timeout: float) -> SimpleNamespace:
        assert (subscription, timeout <= 60) == (SUBSCRIPTION, True)
        return SimpleNamespace(message_retention_duration=RETENTION)

    def seek(self, request: dict[str, Any], timeout: float) -> None:
        assert timeout <= 60
        self.seeks.append(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def subscriber(monkeypatch: pytest.MonkeyPatch) -> FakeSubscriber:
    subscriber = FakeSubscriber()
    monkeypatch.setattr(resume.pubsub_v1, "SubscriberClient", lambda: subscriber)
    return subscriber


@pytest.mark.parametrize("margin", [0, 300])
def test_seeks_before_what_is_durable(
    subscriber: FakeSubscriber, monkeypatch: pytest.MonkeyPatch, margin: int
) -> None:
    asked: list[tuple[object, ...]] = []

    def durable_until(*given: object) -> datetime:
        asked.append(given)
        return UNTIL

    monkeypatch.setattr(resume, "_durable_until", durable_until)
    time = UNTIL - timedelta(seconds=margin)
    assert seek_back("p", SUBSCRIPTION, "archive", margin) == time
    assert subscriber.seeks == [{"subscription": SUBSCRIPTION, "time": time}]
    assert asked == [("p", "archive", RETENTION)]


def test_an_empty_ledger_reads_everything_again(
    subscriber: FakeSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "_durable_until", lambda *given: None)
    seek_back("p", SUBSCRIPTION, "archive", 300)
    assert subscriber.seeks[0]["time"] < datetime(2017, 7, 1, tzinfo=UTC)


def test_no_time_before_there_was_anything(
    subscriber: FakeSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A life's epoch may be any number."""
    monkeypatch.setattr(resume, "_durable_until", lambda *given: datetime(1970, 1, 1, tzinfo=UTC))
    assert seek_back("p", SUBSCRIPTION, "archive", 300) == datetime(2017, 1, 1, tzinfo=UTC)
