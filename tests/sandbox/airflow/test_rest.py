import json
from collections.abc import Mapping
from typing import Any

import pytest

from sandbox.airflow import rest
from sandbox.airflow.rest import Airflow, AirflowError, health_probe, unhealthy

HEALTHY: dict[str, Any] = {name: {"status": "healthy"} for name in rest.COMPONENTS}
RUN = {
    "dag_id": "build_marts",
    "dag_run_id": "manual__2026-01-01T00:00:00+00:00",
    "state": "running",
    "queued_at": "2026-01-01T00:00:00Z",
    "start_date": None,
}


class Server:
    """Answers as Airflow does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {"/auth/token": (201, {"access_token": "t"})}
        self.asked: list[tuple[str, str, Any, Mapping[str, str]]] = []

    def request(
        self,
        method: str,
        url: str,
        document: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0,
    ) -> tuple[int, bytes]:
        path = url.removeprefix("http://h:1")
        self.asked.append((method, path, document, headers or {}))
        status, answer = self.answers[path.split("?")[0]]
        return status, json.dumps(answer).encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(rest, "request", server.request)
    return server


def airflow() -> Airflow:
    return Airflow("http://h:1", lambda: "secret")


def test_it_logs_in_once(server: Server) -> None:
    server.answers["/api/v2/dags"] = (200, {"dags": [{"dag_id": "a", "is_paused": True}]})
    client = airflow()
    assert client.dags() == client.dags() == {"a": True}
    assert [path for _, path, _, _ in server.asked].count("/auth/token") == 1
    assert server.asked[0][2] == {"username": "admin", "password": "secret"}
    assert server.asked[-1][3] == {"Authorization": "Bearer t"}


def test_a_run_is_triggered_with_its_parameters(server: Server) -> None:
    server.answers["/api/v2/dags/build_marts/dagRuns"] = (200, RUN)
    run = airflow().trigger("build_marts", {"day": "today"})
    assert server.asked[-1][2] == {"logical_date": None, "conf": {"day": "today"}}
    assert (run.state, run.is_finished, run.started_at) == ("running", False, "")
    assert run.link == (
        "http://h:1/dags/build_marts/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00"
    )


def test_an_error_has_the_address_and_the_answer(server: Server) -> None:
    server.answers["/api/v2/dags/nothing"] = (404, {"detail": "not found"})
    with pytest.raises(AirflowError, match=r"PATCH http://h:1/api/v2/dags/nothing: HTTP 404 .*not"):
        airflow().unpause("nothing")


def test_nobody_there_is_an_error_too() -> None:
    with pytest.raises(AirflowError, match=r"POST http://127\.0\.0\.1:9/auth/token: "):
        Airflow("http://127.0.0.1:9", lambda: "secret").dags()


@pytest.mark.parametrize("name", rest.COMPONENTS)
def test_each_component_must_be_healthy(name: str) -> None:
    assert unhealthy(HEALTHY) is None
    assert unhealthy({**HEALTHY, name: {"status": "unhealthy"}}) == f"{name} unhealthy"
    assert unhealthy({**HEALTHY, name: {"status": None}}) == f"{name} unknown"


def test_the_probe_tells_why_not() -> None:
    assert "refused" in (health_probe("http://127.0.0.1:9")() or "")
