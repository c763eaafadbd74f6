"""Readiness probes: is a service answering its own protocol, and if not, why not?

A probe is called without arguments and returns None when the service is ready, otherwise a short
reason for people. Each is one attempt on loopback, limited to `TIMEOUT_SECONDS`; the supervisor
repeats it until the service's deadline.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

TIMEOUT_SECONDS: Final = 2.0

Probe = Callable[[], str | None]

# RFC 9113, sections 3.4 and 6.5: a client's preface is this line and a SETTINGS frame (type 4);
# a server answers with a SETTINGS frame of its own.
_HTTP2_PREFACE: Final = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
)
_HTTP2_HEADER_BYTES: Final = 9
_HTTP2_SETTINGS: Final = 4


def http_probe(url: str) -> Probe:
    """Return a probe that wants a status below 400 from a GET."""

    def probe() -> str | None:
        try:
            status, body = get(url)
        except (OSError, http.client.HTTPException) as error:
            return f"{url}: {error}"
        return (
            None if status < 400 else f"{url}: HTTP {status} {body[:200].decode(errors='replace')}"
        )

    return probe


def grpc_probe(host: str, port: int) -> Probe:
    """Return a probe that wants an HTTP/2 server's SETTINGS frame; every gRPC server sends it."""

    def probe() -> str | None:
        try:
            with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection:
                connection.sendall(_HTTP2_PREFACE)
                header = _receive(connection, _HTTP2_HEADER_BYTES)
        except OSError as error:
            return f"{host}:{port}: {error}"
        if len(header) < _HTTP2_HEADER_BYTES or header[3] != _HTTP2_SETTINGS:
            return f"{host}:{port}: does not speak gRPC, answered {header!r}"
        return None

    return probe


def all_of(*probes: Probe) -> Probe:
    """Return a probe that wants all of several."""
    return lambda: next((reason for probe in probes if (reason := probe())), None)


def get(url: str, *, timeout: float = TIMEOUT_SECONDS) -> tuple[int, bytes]:
    """GET an http address on loopback, past any proxy settings; return status and body.

    Raises:
        OSError: nobody answers.
        http.client.HTTPException: the answer is not HTTP.
    """
    return request("GET", url, timeout=timeout)


def post_json(url: str, document: Any, *, timeout: float = TIMEOUT_SECONDS) -> tuple[int, bytes]:
    """POST a JSON document; otherwise like `get`."""
    return request("POST", url, document, timeout=timeout)


def request(
    method: str,
    url: str,
    document: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> tuple[int, bytes]:
    """Send any request, with a JSON document unless that is None; otherwise like `get`."""
    body = None if document is None else json.dumps(document).encode()
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        content = {"Content-Type": "application/json"} if body is not None else {}
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, path, body, {**content, **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _receive(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count and (part := connection.recv(count - len(received))):
        received += part
    return received


def find_holder(port: int) -> str | None:
    """Return `name (pid N)` of the process that listens on a local TCP port, None if unknown."""
    import psutil

    try:
        listeners = psutil.net_connections(kind="tcp")
        for connection in listeners:
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, TypeError, ValueError):
        return None
    return None


def is_free(host: str, port: int) -> bool:
    """Tell whether a service could listen on a port."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError:
            return False
        return True


def free_ports(host: str, count: int) -> list[int]:
    """Return distinct ports that are free right now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for candidate in sockets:
            candidate.bind((host, 0))
        return [int(candidate.getsockname()[1]) for candidate in sockets]
    finally:
        for candidate in sockets:
            candidate.close()
