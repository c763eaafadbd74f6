"""/healthz of a job that runs in this process."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

# How often the server looks whether it should stop.
_STOP_SECONDS: Final = 0.05


@contextlib.contextmanager
def serve_health(host: str, port: int | None, state: Callable[[], str]) -> Iterator[None]:
    """Serve /healthz while the block runs; do nothing without a port.

    Args:
        host: address to bind.
        port: port to bind; None serves nothing.
        state: returns the pipeline's state; RUNNING gives HTTP 200, all else 503.
    """
    if port is None:
        yield
        return

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            name = state()
            is_known = self.path == "/healthz"
            self.send_response(404 if not is_known else 200 if name == "RUNNING" else 503)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({"status": name.lower()}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name
            """Say nothing: a probe a second is no news."""

    server = ThreadingHTTPServer((host, port), Handler)
    thread = threading.Thread(
        target=server.serve_forever, args=(_STOP_SECONDS,), name="health", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
