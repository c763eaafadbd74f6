from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest

from beam_jobs import resume
from beam_jobs.resume import seek_back

SUBSCRIPTION = "projects/p/subscriptions/frames"
LAST = datetime(2026, 2, 2, 2, 40, 0, 123_456, tzinfo=UTC)


class FakeSubscriber:
    def __init__(self) -> None:
        self.seeks: list[dict[str, Any]] = []

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
def test_seeks_before_the_last_loaded_frame(
    subscriber: FakeSubscriber, monkeypatch: pytest.MonkeyPatch, margin: int
) -> None:
    monkeypatch.setattr(resume, "last_published_at", lambda project: LAST)
    time = LAST - timedelta(seconds=margin)
    assert seek_back("p", SUBSCRIPTION, margin) == time
    assert subscriber.seeks == [{"subscription": SUBSCRIPTION, "time": time}]


def test_an_empty_ledger_reads_everything_again(
    subscriber: FakeSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "last_published_at", lambda project: None)
    seek_back("p", SUBSCRIPTION, 300)
    assert subscriber.seeks[0]["time"] < datetime(2017, 7, 1, tzinfo=UTC)
