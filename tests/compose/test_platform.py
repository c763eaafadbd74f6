"""The compose file for real: build, start, two collectors, one of them killed, the certificate,
the DAGs over complete data.

`make compose-test`; skipped where there is no engine or no base image, with the reason.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from images.build import STAGES, build_images
from images.engine import ROOT, Engine, EngineError, find_engine
from images.environment import values_of
from sandbox.airflow.dags import CLOSING
from sandbox.probes import free_ports

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]

POSTGRES = "docker.io/library/postgres:15-bookworm"
PORTS = (
    *("PUBSUB_PORT", "GCS_PORT", "BIGQUERY_PORT", "BIGQUERY_GRPC_PORT"),
    *("EXCHANGE_PORT", "AIRFLOW_PORT"),
)
HEALTHY_SECONDS = 600.0  # on two cores, of which every process wants some seconds first
CERTIFICATE_SECONDS = 1800.0  # four DAGs included
MARKET_SECONDS = 60
# What two cores carry beside Airflow and two collectors, each of which sends everything.
MARKET = {"SANDBOX_RATE": "300", "SANDBOX_MARKET_SIZE": "20"}
SCALE = ("--scale", "collector=2")


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Docker or podman with the images; skips where they can't be had."""
    try:
        engine = find_engine()
        if not engine.compose:
            raise EngineError(
                f"{engine.name} has no compose: install docker-compose-plugin or podman-compose"
            )
        for base in ("docker.io/library/python:3.11-slim-bookworm", POSTGRES):
            engine.bring_image(base)
    except EngineError as reason:
        pytest.skip(str(reason))
    for built in build_images(engine, STAGES):
        print(f"{built.image}: {built.size / 1e6:.0f} MB, built in {built.seconds:.0f} s")
    return engine


class Platform:
    """The compose file, under a project name and on ports of its own."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        ports = dict(zip(PORTS, map(str, free_ports("127.0.0.1", len(PORTS))), strict=True))
        self.engine = engine
        self.project = "compose-test"
        self.environment: Mapping[str, str] = {**values_of("simulated"), **ports, **MARKET}
        self._file = folder / "env"
        lines = (f"{name}={value}\n" for name, value in self.environment.items())
        self._file.write_text("".join(lines), "utf-8")

    def compose(
        self, *arguments: str, check: bool = True, seconds: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run compose."""
        return self.engine.run_compose(
            *("--project-name", self.project, "--env-file", str(self._file)),
            *("--file", str(ROOT / "docker-compose.yaml"), "--profile", "simulated"),
            *arguments,
            environment=self.environment,
            check=check,
            seconds=seconds,
        )

    def faults(self) -> dict[str, str]:
        """Return why containers are not well, by name."""
        found = {name: self.engine.fault_of(name) for name in self.containers}
        return {name: fault for name, fault in found.items() if fault}

    @property
    def containers(self) -> dict[str, str]:
        """Service by container."""
        return self.engine.containers(self.project)

    def up(self) -> None:
        """Start every service once what it needs is well.

        Docker does that by itself. Podman before 4.6 can't wait for health, so it is given the
        services in the order of the file's own `depends_on`.
        """
        if self.engine.name == "docker":
            self.compose("up", "--detach", "--no-build", *SCALE, seconds=HEALTHY_SECONDS)
            return
        document = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))
        needs = {
            name: {*service.get("depends_on", ())}
            for name, service in document["services"].items()
            if "simulated" in service.get("profiles", ["simulated"])
        }
        while ready := [name for name, needed in needs.items() if not needed & needs.keys()]:
            self.compose("up", "--detach", "--no-build", "--no-deps", *SCALE, *ready)
            print(f"{' '.join(ready)}: healthy after {self.wait_healthy():.0f} s")
            for name in ready:
                del needs[name]

    def down(self) -> None:
        """Remove everything; podman-compose alone would leave the second collector."""
        if containers := self.containers:
            self.engine.run("rm", "--force", "--volumes", *containers)
        self.compose("--profile", "certificate", "down", "--volumes", check=False)

    def wait_healthy(self) -> float:
        """Wait until all are well; return the seconds it took."""
        began = time.monotonic()
        while faults := self.faults():
            passed = time.monotonic() - began
            assert passed < HEALTHY_SECONDS, f"not healthy after {passed:.0f} s: {faults}"
            time.sleep(2)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def platform(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """All services with two collectors; removed at the end, their logs shown."""
    platform = Platform(engine, tmp_path_factory.mktemp("compose"))
    platform.down()
    try:
        platform.up()
        platform.wait_healthy()
        yield platform
    finally:
        for name in platform.containers:
            print(f"--- {name}\n{engine.run('logs', '--tail', '15', name, check=False).stdout}")
        platform.down()
    assert not platform.containers


def test_every_service_runs_hardened_and_healthy(platform: Platform) -> None:
    services = sorted(platform.containers.values())
    assert services.count("collector") == 2
    assert {"airflow-scheduler", "bigquery", "exchange", "gcs", "job", "pubsub"} <= {*services}
    for name, service in platform.containers.items():
        if service in ("postgres", "provision", "airflow-migrate"):
            continue
        shown = platform.engine.run("exec", name, "sh", "-c", "id -u; touch /x", check=False)
        assert shown.stdout.split() == ["10001"], service
        assert "Read-only file system" in shown.stderr, service


def test_a_killed_collector_loses_nothing_the_certificate_is_complete_and_dags_succeed(
    platform: Platform,
) -> None:
    victim = min(name for name, of in platform.containers.items() if of == "collector")
    time.sleep(MARKET_SECONDS / 4)
    platform.engine.run("kill", "--signal", "KILL", victim)
    platform.engine.run("start", victim)
    platform.wait_healthy()
    done = platform.compose(
        *("--profile", "certificate", "run", "--rm", "-T", "certificate"),
        *("sandbox.certify", f"--seconds={MARKET_SECONDS}"),
        check=False,
        seconds=CERTIFICATE_SECONDS,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "COMPLETE" in done.stdout
    for step in CLOSING:
        assert re.search(rf"^ *{step.dag} +success ", done.stdout, re.MULTILINE), step.dag
