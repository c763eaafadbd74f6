"""`up`, `status`, `env`, `down` with the real components, as a user types them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from market_data.tables import TABLES
from sandbox.bigquery.rest import query
from sandbox.probes import get
from sandbox.process import end_members, members
from sandbox.settings import (
    AUDIT_SUBSCRIPTION,
    BUCKET,
    JOB_SUBSCRIPTION,
    PROJECT,
    ROOT,
    TOPIC,
    Settings,
)
from sandbox.state import READY, State, read_state

EMULATORS = Path(os.environ.get("SANDBOX_EMULATORS", Settings().emulators))

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (EMULATORS / "bin" / "python").exists(),
        reason=f"no emulators in {EMULATORS}; `make setup` installs them",
    ),
]


def sandbox(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", arguments[0], "--home", str(home), *arguments[1:]],
        cwd=ROOT,
        env={**os.environ, "SANDBOX_EMULATORS": str(EMULATORS)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("sandbox")
    run = sandbox(
        home, "up", "--ports", "auto", "--rate", "50", "--market-size", "5", "--no-airflow"
    )
    assert run.returncode == 0, run.stderr
    yield home
    run_id = state_of(home).run_id
    assert sandbox(home, "down").returncode == 0
    assert end_members(run_id) == []


def state_of(home: Path) -> State:
    state = read_state(home)
    assert state is not None
    return state


def test_up_again_finds_it_running(home: Path) -> None:
    before = state_of(home)
    run = sandbox(home, "up", "--ports", "auto")
    assert run.returncode == 0
    assert run.stdout.splitlines()[-1].startswith("  BIGQUERY_WRITE_EMULATOR_HOST=127.0.0.1:")
    assert "already running" in run.stdout
    assert state_of(home).pid == before.pid


def test_status_shows_every_service(home: Path) -> None:
    run = sandbox(home, "status", "--json")
    assert run.returncode == 0
    services = {each["name"]: each for each in json.loads(run.stdout)["services"]}
    assert {name for name, each in services.items() if each["phase"] == READY} == {
        *("pubsub", "gcs", "bigquery", "exchange", "job", "collector")
    }
    assert services["provision"]["phase"] == "done"
    assert all(each["restarts"] == 0 for each in services.values())
    assert services["bigquery"]["peak_resident_bytes"] > 50_000_000


def test_everything_was_provisioned(home: Path) -> None:
    settings = Settings.from_document(state_of(home).settings)
    exports = dict(
        line.removeprefix("export ").split("=", 1)
        for line in sandbox(home, "env").stdout.splitlines()
    )
    assert exports == settings.client_environment
    script = (
        "import json\n"
        "from google.cloud import pubsub_v1, storage\n"
        f"topics = pubsub_v1.PublisherClient().list_topics(project='projects/{PROJECT}')\n"
        f"subs = pubsub_v1.SubscriberClient().list_subscriptions(project='projects/{PROJECT}')\n"
        "print(json.dumps([[t.name for t in topics], sorted(s.name for s in subs),\n"
        "    [b.name for b in storage.Client().list_buckets()]]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, **exports},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(run.stdout) == [
        [f"projects/{PROJECT}/topics/{TOPIC}"],
        [
            f"projects/{PROJECT}/subscriptions/{name}"
            for name in (AUDIT_SUBSCRIPTION, JOB_SUBSCRIPTION)
        ],
        [BUCKET],
    ]
    for table in TABLES:
        sql = f"select count(*) from `{PROJECT}.{table.full_name}`"  # noqa: S608 - our own names
        assert len(query(settings.bigquery_url, PROJECT, sql)) == 1


def test_a_taken_port_is_named_with_its_setting(home: Path, tmp_path: Path) -> None:
    port = Settings.from_document(state_of(home).settings).ports.gcs
    run = sandbox(tmp_path, "up", "--ports", "auto", "--gcs-port", str(port))
    assert run.returncode == 1
    assert f"gcs: port {port} is taken by fake-gcs-server" in run.stderr
    assert "SANDBOX_GCS_PORT (--gcs-port)" in run.stderr


def test_a_demo_beside_it_is_refused(home: Path) -> None:
    run = sandbox(home, "demo", "--exit", "--ports", "auto")
    assert run.returncode == 1
    assert "end it with `python -m sandbox down`" in run.stderr


def test_killing_the_supervisor_leaves_nothing_and_up_starts_again(tmp_path: Path) -> None:
    light = ("--ports", "auto", "--rate", "50", "--pubsub", "embedded", "--no-airflow")
    started = sandbox(tmp_path, "up", *light)
    assert started.returncode == 0, started.stderr
    state = state_of(tmp_path)
    assert len(members(state.run_id)) >= 6
    os.kill(state.pid, signal.SIGKILL)
    down = sandbox(tmp_path, "down")
    assert (down.returncode, down.stdout) == (0, "nothing is running\n")
    assert members(state.run_id) == []
    status = sandbox(tmp_path, "status")
    assert (status.returncode, status.stdout) == (1, "not running\n")


def test_the_collector_and_the_job_are_healthy(home: Path) -> None:
    settings = Settings.from_document(state_of(home).settings)
    for url in (settings.collector_url, settings.job_url):
        assert get(f"{url}/healthz")[0] == 200
