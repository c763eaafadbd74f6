"""The commands name the environment and the deployed files; `apply` runs those that are quick."""

import os
from pathlib import Path
from typing import Any

import pytest

from deploy.bucket import DeploymentError
from deploy.outputs import Outputs, parse_outputs
from deploy.steps import apply, next_steps
from tests.deploy.test_outputs import GOOD

WHERE = "market-ops-dev --location europe-west1 --project my-project"


def outputs(**change: Any) -> Outputs:
    return parse_outputs("dev", {**GOOD, **change})


def test_each_command_names_the_environment() -> None:
    lines = next_steps(outputs(), are_imported=False).splitlines()
    commands = [line for line in lines if line.startswith("gcloud")]
    assert all(WHERE in command for command in commands)
    assert [command.split()[3] for command in commands] == ["run", "run", "update", "update"]
    assert commands[0].endswith(
        "variables import -- /home/airflow/gcs/data/market_ops/variables.json"
    )


def test_what_was_done_is_not_left_to_do() -> None:
    steps = next_steps(outputs(), are_imported=True)
    assert "import" not in steps
    assert steps.count("gcloud") == 2


@pytest.fixture
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gcloud that notes what it is told; a file `refuse` beside it makes it fail."""
    path = tmp_path / "gcloud"
    path.write_text(
        '#!/bin/sh\necho "$@" >> "$(dirname "$0")/calls"\n'
        '[ ! -e "$(dirname "$0")/refuse" ] || { echo "no  such environment" >&2; exit 1; }\n'
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return path


@pytest.mark.integration
def test_variables_and_connections_are_imported(gcloud: Path) -> None:
    apply(outputs())
    first, second = (gcloud.parent / "calls").read_text().splitlines()
    data = "/home/airflow/gcs/data/market_ops"
    assert first == f"composer environments run {WHERE} variables import -- {data}/variables.json"
    assert second.endswith(f"connections import -- {data}/connections.json --overwrite")


@pytest.mark.integration
def test_without_connections_only_variables(gcloud: Path) -> None:
    apply(outputs(connections={}))
    assert "connections" not in (gcloud.parent / "calls").read_text()


@pytest.mark.integration
def test_a_refusal_is_told(gcloud: Path) -> None:
    (gcloud.parent / "refuse").touch()
    with pytest.raises(DeploymentError, match=r"ended with 1: no such environment; the files are"):
        apply(outputs())


def test_without_gcloud_nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeploymentError, match=r"^gcloud: is not installed; the files are deployed"):
        apply(outputs())
