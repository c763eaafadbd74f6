import socket
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import grpc
import pytest

from sandbox.probes import (
    all_of,
    find_holder,
    free_ports,
    get,
    grpc_probe,
    http_probe,
    is_free,
    post_json,
)

pytestmark = pytest.mark.integration


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/sick" else 200)
        self.end_headers()
        self.wfile.write(b"still starting" if self.path == "/sick" else self.path.encode())

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_http(server: HTTPServer) -> None:
    base = f"http://127.0.0.1:{server.server_port}"
    assert http_probe(f"{base}/healthz")() is None
    assert http_probe(f"{base}/sick")() == f"{base}/sick: HTTP 503 still starting"
    assert get(f"{base}/a?b=c") == (200, b"/a?b=c")
    assert post_json(f"{base}/x", {"a": 1}) == (200, b'{"a": 1}')


def test_nobody_answers() -> None:
    (port,) = free_ports("127.0.0.1", 1)
    assert "refused" in str(http_probe(f"http://127.0.0.1:{port}/")())
    assert "refused" in str(grpc_probe("127.0.0.1", port)())


def test_grpc_tells_grpc_from_http(server: HTTPServer) -> None:
    grpc_server = grpc.server(futures.ThreadPoolExecutor(1))
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    try:
        assert grpc_probe("127.0.0.1", port)() is None
    finally:
        grpc_server.stop(None).wait()
    assert "does not speak gRPC" in str(grpc_probe("127.0.0.1", server.server_port)())


def test_all_of_names_the_first_that_fails() -> None:
    assert all_of(lambda: None, lambda: None)() is None
    assert all_of(lambda: None, lambda: "b", lambda: "c")() == "b"


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert "pid" in str(find_holder(port))
    assert is_free("127.0.0.1", port)
    assert find_holder(port) is None
    assert len(set(free_ports("127.0.0.1", 20))) == 20
