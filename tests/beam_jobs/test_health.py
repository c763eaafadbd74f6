import json
import socket

import pytest

from beam_jobs.health import serve_health
from sandbox.probes import free_ports, get


@pytest.fixture
def port() -> int:
    return free_ports("127.0.0.1", 1)[0]


def test_running(port: int) -> None:
    with serve_health("127.0.0.1", port, lambda: "RUNNING"):
        status, body = get(f"http://127.0.0.1:{port}/healthz")
    assert (status, json.loads(body)) == (200, {"status": "running"})


@pytest.mark.parametrize("state", ["FAILED", "DONE", "CANCELLED", "UNKNOWN", "None"])
def test_any_other_state(port: int, state: str) -> None:
    with serve_health("127.0.0.1", port, lambda: state):
        status, body = get(f"http://127.0.0.1:{port}/healthz")
    assert (status, json.loads(body)) == (503, {"status": state.lower()})


def test_another_path(port: int) -> None:
    with serve_health("127.0.0.1", port, lambda: "RUNNING"):
        assert get(f"http://127.0.0.1:{port}/")[0] == 404


def test_the_port_is_free_afterwards(port: int) -> None:
    for _ in range(2):
        with serve_health("127.0.0.1", port, lambda: "RUNNING"):
            pass
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_the_port_is_free_after_a_failure(port: int) -> None:
    with pytest.raises(ZeroDivisionError), serve_health("127.0.0.1", port, lambda: "RUNNING"):
        raise ZeroDivisionError
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_no_port_serves_nothing() -> None:
    with serve_health("127.0.0.1", None, lambda: "RUNNING"):
        pass
