"""Reading what parts say; the parts themselves are in tests/integration/test_watch_stream.py."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from plugins.market_ops.stream import observe
from plugins.market_ops.stream.observations import BrokerSeen, JobState
from tests.plugins.stream.samples import NOW

METRICS = """# HELP collector_messages_total Messages received.
# TYPE collector_messages_total counter
collector_messages_total{channel="trade"} 4.0
collector_spooled_frames_total 1.234567e+06
collector_pending_frames 0.0
collector_dropping 1.0
"""


def test_metrics_without_labels_are_read() -> None:
    assert observe.parse_metrics(METRICS) == {
        "collector_spooled_frames_total": 1_234_567,
        "collector_pending_frames": 0,
        "collector_dropping": 1,
    }


class FakeDataflow:
    """DataflowHook at its border: lists jobs, launches one."""

    def __init__(self, *jobs: dict[str, str], error: Exception | None = None) -> None:
        self.jobs = list(jobs)
        self.error = error
        self.asked: list[dict[str, Any]] = []
        self.launched: list[dict[str, Any]] = []

    def get_conn(self) -> Any:
        return Service(self)

    def launch_job_with_flex_template(
        self, body: dict[str, Any], location: str, project_id: str
    ) -> dict[str, str]:
        self.launched.append({"body": body, "location": location, "project_id": project_id})
        job = {
            "id": "new",
            "currentState": "JOB_STATE_QUEUED",
            "currentStateTime": NOW.isoformat(),
            "createTime": NOW.isoformat(),
        }
        self.jobs.append(job)
        return job


class Service:
    """The hook's service: projects().locations().jobs().list(...).execute()."""

    def __init__(self, hook: FakeDataflow) -> None:
        self._hook = hook

    def projects(self) -> Any:
        return self

    locations = jobs = projects

    def list(self, **arguments: Any) -> Any:
        self._hook.asked.append(arguments)
        return self

    def execute(self, num_retries: int) -> dict[str, Any]:
        if self._hook.error:
            raise self._hook.error
        # Dataflow leaves out what is empty.
        return {"jobs": self._hook.jobs} if self._hook.jobs else {}


SETTINGS = {
    "job_name": "stream-trades",
    "region": "europe-west1",
    "template": "gs://bucket/stream_trades.json",
    "parameters": {"archive": "gs://bucket"},
}


def test_a_job_that_is_missing_is_started_once() -> None:
    hook = FakeDataflow()
    seen = observe.observe_dataflow(lambda: hook, "my-project", SETTINGS, NOW)
    assert (seen.state, seen.may_start) == (JobState.DOWN, True)
    assert hook.asked == [
        {"projectId": "my-project", "location": "europe-west1", "name": "stream-trades"}
    ]
    assert observe.start_dataflow(hook, "my-project", SETTINGS) == "new"
    assert hook.launched == [
        {
            "body": {
                "launchParameter": {
                    "jobName": "stream-trades",
                    "containerSpecGcsPath": "gs://bucket/stream_trades.json",
                    "parameters": {"archive": "gs://bucket"},
                }
            },
            "location": "europe-west1",
            "project_id": "my-project",
        }
    ]
    seen = observe.observe_dataflow(lambda: hook, "my-project", SETTINGS, NOW)
    assert (seen.state, seen.may_start) == (JobState.STARTING, False)


def test_without_a_template_a_job_is_watched_and_never_started() -> None:
    settings = {"job_name": "stream-trades", "region": "europe-west1"}
    seen = observe.observe_dataflow(FakeDataflow, "my-project", settings, NOW)
    assert (seen.state, seen.may_start) == (JobState.DOWN, False)


def test_dataflow_that_cannot_be_asked_is_no_reason_to_start_a_job() -> None:
    waits: list[float] = []
    hook = FakeDataflow(error=TimeoutError("no answer"))
    seen = observe.observe_dataflow(lambda: hook, "my-project", SETTINGS, NOW, waits.append)
    assert (seen.state, seen.may_start) == (JobState.UNWATCHED, False)
    assert seen.detail == "Dataflow can't be asked for its job: TimeoutError: no answer"
    assert waits == [2.0, 2.0]


class Point:
    """A point of Cloud Monitoring."""

    def __init__(self, number: int) -> None:
        self.value = self
        self.int64_value = number
        self.points = [self]


class Monitoring:
    """MetricServiceClient at its border."""

    def __init__(self, **series: Any) -> None:
        self.series = series

    def list_time_series(self, request: dict[str, Any], **options: Any) -> list[Point]:
        assert request["interval"]["end_time"] - request["interval"]["start_time"] == timedelta(
            minutes=10
        )
        assert 'resource.labels.subscription_id = "frames"' in request["filter"]
        metric = request["filter"].split('"')[1].rsplit("/")[-1]
        return [Point(number) for number in self.series[metric]]


def test_the_backlog_is_what_monitoring_counts() -> None:
    client = Monitoring(num_undelivered_messages=[7], oldest_unacked_message_age=[120])
    seen = observe.observe_backlog(lambda: client, "p", "frames", BrokerSeen(), NOW)
    assert seen == BrokerSeen(backlog=7, oldest_seconds=120)


@pytest.mark.parametrize("series", [{}, {"num_undelivered_messages": []}])
def test_monitoring_that_does_not_answer_hides_nothing(series: dict[str, Any]) -> None:
    client = Monitoring(**series)
    seen = observe.observe_backlog(lambda: client, "p", "frames", BrokerSeen(error="x"), NOW)
    assert seen == BrokerSeen(error="x")


def test_a_restart_between_two_tries_is_no_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [
        httpx.ConnectError("refused"),
        httpx.Response(503, json={"status": "starting"}),
    ]

    def get(url: str, **_: Any) -> httpx.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(observe.httpx, "get", get)
    seen = observe.observe_local_job("http://job", lambda _: None)
    assert (seen.state, seen.detail) == (JobState.DOWN, "http://job says starting")


def test_a_part_that_stays_away_is_told_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe.httpx, "get", lambda url, **_: httpx.Response(404))
    waits: list[float] = []
    seen = observe.observe_collector("http://c", waits.append)
    assert seen.error == "ValueError: http://c/healthz: HTTP 404"
    assert len(waits) == observe.TRIES - 1
    assert "HTTP 404" in observe.observe_local_job("http://j", waits.append).detail
    assert "HTTP 404" in observe.observe_exchange("http://e", {}, NOW, waits.append).error


def test_a_broker_whose_client_cannot_be_made_is_away() -> None:
    def connect() -> Any:
        raise RuntimeError("no credentials")

    seen = observe.observe_broker(connect, "p", "s", lambda _: None)
    assert seen.error == "RuntimeError: no credentials"
    assert observe.observe_warehouse(connect, NOW, lambda _: None).error == (
        "RuntimeError: no credentials"
    )
