"""The emulators that integration tests share: one of each a session, on free ports.

Tests keep out of each other's way by names of their own: a project (`new_project`) or a bucket.
"""

import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox import guard
from sandbox.gcs import gcs_command
from sandbox.probes import Probe, all_of, free_ports, grpc_probe, http_probe
from sandbox.pubsub.google import find_google_emulator
from sandbox.settings import ROOT, Settings
from tests.integration.dag_runs import migrate

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 15.0
EMULATORS = Path(os.environ.get("SANDBOX_EMULATORS", Settings().emulators))

_numbers = itertools.count(1)


@dataclass(frozen=True)
class PubSub:
    """A Pub/Sub; `kind` is embedded or google."""

    kind: str
    grpc_host: str

    @property
    def environment(self) -> dict[str, str]:
        return {"PUBSUB_EMULATOR_HOST": self.grpc_host}


@dataclass(frozen=True)
class Gcs:
    """A Cloud Storage; `root` is the folder that it keeps its buckets in."""

    rest_url: str
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.rest_url}


@dataclass(frozen=True)
class BigQuery:
    """A BigQuery: REST and the Storage API. `project` is its default one; others work as well."""

    rest_url: str
    grpc_host: str
    project: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "BIGQUERY_EMULATOR_HOST": self.rest_url,
            "BIGQUERY_WRITE_EMULATOR_HOST": self.grpc_host,
        }


def new_project() -> str:
    """Return the id of a project that nobody else uses."""
    return f"test-{os.getpid()}-{next(_numbers)}"


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    log: Path,
    probe: Probe | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for the block; its output goes to `log`, which an early end is told with.

    `sandbox.guard` ends it should the tests be killed.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "NO_PROXY": f"{HOST},localhost", **(environment or {})},
        )
    try:
        if probe is not None:
            wait_until(lambda: _answers(process, probe, name, log), f"{name} is up", START_SECONDS)
        yield process
    finally:
        stop(process)


def _answers(process: subprocess.Popen[bytes], probe: Probe, name: str, log: Path) -> bool:
    code = process.poll()
    assert code is None, f"{name} ended with {code}:\n{log.read_text(errors='replace')[-3000:]}"
    return probe() is None


def stop(process: subprocess.Popen[bytes]) -> int:
    """End a process, first by asking; return its exit code."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(STOP_SECONDS)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait until the condition holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


@contextlib.contextmanager
def embedded_pubsub(folder: Path) -> Iterator[PubSub]:
    (port,) = free_ports(HOST, 1)
    command = [sys.executable, "-m", "sandbox.pubsub", "--host", HOST, "--port", str(port)]
    with running("pubsub", command, folder / "pubsub.log", grpc_probe(HOST, port)):
        yield PubSub("embedded", f"{HOST}:{port}")


@contextlib.contextmanager
def google_pubsub(folder: Path) -> Iterator[PubSub]:
    command = find_google_emulator()
    if command is None:
        pytest.skip("Google's Pub/Sub emulator: Java or cloud-pubsub-emulator-*-all.jar not found")
    (port,) = free_ports(HOST, 1)
    command = [*command, f"--host={HOST}", f"--port={port}"]
    with running("google", command, folder / "google.log", http_probe(f"http://{HOST}:{port}/")):
        yield PubSub("google", f"{HOST}:{port}")


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the emulators' logs."""
    return tmp_path_factory.mktemp("emulators")


@pytest.fixture(scope="session")
def pubsub(logs: Path) -> Iterator[PubSub]:
    """The embedded Pub/Sub as a process."""
    with embedded_pubsub(logs) as it:
        yield it


@pytest.fixture(
    scope="session", params=[embedded_pubsub, google_pubsub], ids=["embedded", "google"]
)
def each_pubsub(request: pytest.FixtureRequest, logs: Path) -> Iterator[PubSub]:
    """The embedded Pub/Sub, then Google's emulator where it is present."""
    with request.param(logs) as it:
        yield it


@pytest.fixture(scope="session")
def gcs(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    """fake-gcs-server."""
    (port,) = free_ports(HOST, 1)
    url, root = f"http://{HOST}:{port}", tmp_path_factory.mktemp("gcs")
    command = gcs_command(root, HOST, port, url, f"{HOST}:{port}")
    with running("gcs", command, logs / "gcs.log", http_probe(f"{url}/storage/v1/b?project=any")):
        yield Gcs(url, root)


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's database as it is at first, to be copied."""
    return migrate(tmp_path_factory.mktemp("airflow-database"))


@pytest.fixture(scope="session")
def bigquery(logs: Path, gcs: Gcs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQuery]:
    """bqemulator, started as the sandbox starts it; skips where it is not installed."""
    python = EMULATORS / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no emulators in {EMULATORS}; `make setup` installs them")
    rest, grpc = free_ports(HOST, 2)
    it = BigQuery(f"http://{HOST}:{rest}", f"{HOST}:{grpc}", "test-project")
    command = [
        *(str(python), str(ROOT / "sandbox" / "bigquery" / "launcher.py")),
        *("--home", str(tmp_path_factory.mktemp("bigquery-home")), "--project", it.project),
        *("--rest-port", str(rest), "--grpc-port", str(grpc), "--gcs-root", str(gcs.root)),
    ]
    probe = all_of(
        http_probe(f"{it.rest_url}/bigquery/v2/projects/{it.project}/datasets"),
        grpc_probe(HOST, grpc),
    )
    with running("bigquery", command, logs / "bigquery.log", probe):
        yield it
