"""The images' health check."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from images.check_health import fault_of, main
from sandbox.probes import free_ports

ANSWERS = {
    "/healthz": (200, b"ok"),
    "/sick?a=b": (503, b"no"),
    "/api/v2/monitor/health": (200, json.dumps({"triggerer": {"status": "unhealthy"}}).encode()),
}


class Handler(BaseHTTPRequestHandler):
    """Answers with ANSWERS."""

    def do_GET(self) -> None:
        status, body = ANSWERS[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name
        """Say nothing."""


@pytest.fixture
def place() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_answers_are_healthy(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"http://{place}/healthz", f"tcp://{place}"]) == 0
    assert capsys.readouterr().out == "healthy\n"


def test_everything_else_is_named(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports("127.0.0.1", 1)
    assert main([f"http://{place}/sick?a=b", f"tcp://127.0.0.1:{port}"]) == 1
    said = capsys.readouterr().out
    assert f"http://{place}/sick?a=b: HTTP 503; tcp://127.0.0.1:{port}: " in said
    assert "refused" in said


def test_airflow_is_asked_for_one_component(place: str) -> None:
    assert fault_of(f"airflow://{place}/triggerer") == f"airflow://{place}/triggerer: unhealthy"
    assert "KeyError" in fault_of(f"airflow://{place}/scheduler")


def test_nothing_to_check_is_not_healthy() -> None:
    assert main([]) == 1
