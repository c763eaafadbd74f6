"""A stand-in of Dataflow's REST API: it takes jobs, keeps them, and says that they are done."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
# Beam checks all options and asks for real workers only at an endpoint that is not localhost and
# has no port; it speaks REST, not gRPC, where the name has this word. So the stand-in is a proxy.
ENDPOINT = "http://dataflow.sandbox"


@dataclass
class Dataflow:
    """What has arrived, in this order.

    Attributes:
        address: of the proxy that answers for `ENDPOINT`.
        jobs: bodies of the requests that create a job, each with its path as `path`.
        running: jobs that were there before.
    """

    address: str
    jobs: list[dict[str, Any]] = field(default_factory=list)
    running: list[dict[str, Any]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {"http_proxy": self.address, "no_proxy": HOST}


@contextmanager
def dataflow() -> Iterator[Dataflow]:
    """Run the stand-in for the block."""
    with ThreadingHTTPServer((HOST, 0), _Handler) as server:
        it = Dataflow(f"http://{HOST}:{server.server_port}")
        server.dataflow = it  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield it
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        it: Dataflow = self.server.dataflow  # type: ignore[attr-defined]
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        it.jobs.append({**job, "path": urlsplit(self.path).path})
        echoed = {key: job[key] for key in ("name", "clientRequestId", "type")}
        self._answer({"id": f"job-{len(it.jobs)}", "currentState": "JOB_STATE_DONE", **echoed})

    def do_GET(self) -> None:
        it: Dataflow = self.server.dataflow  # type: ignore[attr-defined]
        path = urlsplit(self.path).path
        if path.endswith("/jobs"):
            self._answer({"jobs": it.running})
        else:
            self._answer({"id": path.rpartition("/")[2], "currentState": "JOB_STATE_DONE"})

    def _answer(self, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass
