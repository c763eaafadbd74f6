"""The health check of every image: `check_health.py http://HOST:PORT/PATH tcp://HOST:PORT ...`.

Exit code 0 when each address answers: HTTP below 400, a connection that opens, or, for
`airflow://HOST:PORT/COMPONENT`, what Airflow's API server says of one of its components. Standard
library only, and nothing of the platform: it runs every few seconds.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from urllib.parse import urlsplit, urlunsplit

TIMEOUT_SECONDS = 3.0
AIRFLOW_HEALTH = "/api/v2/monitor/health"


def fault_of(address: str) -> str:
    """Return what is wrong with an address, empty when it answers."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or 80
    path, component = urlunsplit(("", "", parts.path or "/", parts.query, "")), ""
    if parts.scheme == "airflow":
        path, component = AIRFLOW_HEALTH, parts.path.strip("/")
    try:
        if parts.scheme == "tcp":
            socket.create_connection((host, port), TIMEOUT_SECONDS).close()
            return ""
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status >= 400:
            return f"{address}: HTTP {answer.status}"
        said = json.loads(answer.read())[component]["status"] if component else "healthy"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"{address}: {type(error).__name__} {error}"
    return "" if said == "healthy" else f"{address}: {said}"


def main(addresses: list[str]) -> int:
    """Check all addresses; return the exit code."""
    faults = [fault for fault in map(fault_of, addresses) if fault]
    print("; ".join(faults) or "healthy")
    return 1 if faults or not addresses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
