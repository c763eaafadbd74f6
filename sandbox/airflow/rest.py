"""A client of Airflow's REST API (public interface v2), for the demo and for people's scripts.

Every call is one attempt on loopback with a short limit. An Airflow that is busy or gone raises
`AirflowError`; whoever only wants to show something goes on without.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from sandbox.airflow.environment import LOCK_SECONDS, USER
from sandbox.probes import Probe, get, request

HEALTH_PATH: Final = "/api/v2/monitor/health"
COMPONENTS: Final = ("metadatabase", "scheduler", "triggerer", "dag_processor")
FINISHED: Final = ("success", "failed")
_TIMEOUT_SECONDS: Final = 10.0  # a busy machine; idle it answers in 20 ms
_CHANGE_SECONDS: Final = LOCK_SECONDS + _TIMEOUT_SECONDS  # what it may wait for its database too


class AirflowError(Exception):
    """Airflow did not answer, or with an error; the message has the address and the answer."""


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run.

    Attributes:
        dag: id of the DAG.
        run: id of the run.
        state: queued, running, success or failed.
        queued_at: when it was queued, ISO 8601 in UTC; empty before.
        started_at: when it started, likewise.
        link: where people see it.
    """

    dag: str
    run: str
    state: str
    queued_at: str
    started_at: str
    link: str

    @property
    def is_finished(self) -> bool:
        """True when the state is final."""
        return self.state in FINISHED


def health_probe(url: str) -> Probe:
    """Return a probe that wants all components healthy."""

    def probe() -> str | None:
        try:
            status, body = get(url + HEALTH_PATH)
        except (OSError, http.client.HTTPException) as error:
            return f"{url}: {error}"
        return f"{url}: HTTP {status}" if status >= 400 else unhealthy(json.loads(body))

    return probe


def unhealthy(document: Mapping[str, Any]) -> str | None:
    """Return which components of a health document are not well, None when all are."""
    bad = [
        f"{name} {(document.get(name) or {}).get('status') or 'unknown'}"
        for name in COMPONENTS
        if (document.get(name) or {}).get("status") != "healthy"
    ]
    return ", ".join(bad) or None


class Airflow:
    """Airflow at an address.

    Args:
        url: base address.
        password: of the user `admin`, asked for when a call first needs it.
    """

    def __init__(self, url: str, password: Callable[[], str]) -> None:
        self.url = url
        self._password = password
        self._token = ""

    def dags(self) -> dict[str, bool]:
        """Return the ids of all DAGs; true for those that are paused."""
        found = self._call("GET", "/api/v2/dags?limit=100")["dags"]
        return {each["dag_id"]: bool(each["is_paused"]) for each in found}

    def import_errors(self) -> dict[str, str]:
        """Return why files could not be imported, by file."""
        found = self._call("GET", "/api/v2/importErrors?limit=100")["import_errors"]
        return {each["filename"]: each["stack_trace"] for each in found}

    def unpause(self, dag: str) -> None:
        """Let a DAG run."""
        self._call("PATCH", f"/api/v2/dags/{quote(dag)}", {"is_paused": False})

    def pause(self, dag: str) -> None:
        """Start no more runs of a DAG; those that run go on."""
        self._call("PATCH", f"/api/v2/dags/{quote(dag)}", {"is_paused": True})

    def trigger(self, dag: str, conf: Mapping[str, Any] | None = None) -> Run:
        """Start a run by hand.

        Args:
            dag: id of the DAG.
            conf: its parameters.
        """
        document = {"logical_date": None, "conf": dict(conf or {})}
        return self._run(self._call("POST", f"/api/v2/dags/{quote(dag)}/dagRuns", document))

    def run(self, dag: str, run: str) -> Run:
        """Return a run as it is now."""
        path = f"/api/v2/dags/{quote(dag)}/dagRuns/{quote(run, safe='')}"
        return self._run(self._call("GET", path))

    def runs(self, dag: str = "~", *, limit: int = 50) -> list[Run]:
        """Return the newest runs of a DAG, or of all."""
        query = urlencode({"order_by": "-run_after", "limit": limit})
        found = self._call("GET", f"/api/v2/dags/{quote(dag, safe='~')}/dagRuns?{query}")
        return [self._run(each) for each in found["dag_runs"]]

    def _run(self, document: Mapping[str, Any]) -> Run:
        dag, run = document["dag_id"], document["dag_run_id"]
        link = f"{self.url}/dags/{quote(dag)}/runs/{quote(run, safe='')}"
        queued_at, started_at = (document[name] or "" for name in ("queued_at", "start_date"))
        return Run(dag, run, document["state"], queued_at, started_at, link)

    def _call(self, method: str, path: str, document: Any = None) -> Any:
        if not self._token:
            credentials = {"username": USER, "password": self._password()}
            self._token = self._send("POST", "/auth/token", credentials, {})["access_token"]
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._send(method, path, document, headers)

    def _send(self, method: str, path: str, document: Any, headers: Mapping[str, str]) -> Any:
        url = self.url + path
        try:
            limit = _TIMEOUT_SECONDS if method == "GET" else _CHANGE_SECONDS
            status, body = request(method, url, document, headers=headers, timeout=limit)
        except (OSError, http.client.HTTPException) as error:
            raise AirflowError(f"{method} {url}: {error}") from error
        if status >= 400:
            answer = body[:300].decode(errors="replace")
            raise AirflowError(f"{method} {url}: HTTP {status} {answer}")
        return json.loads(body)
