"""What comes after the files are in the bucket: Composer's own commands."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import Final

from deploy.bucket import DeploymentError
from deploy.files import CONNECTIONS, VARIABLES
from deploy.outputs import Outputs

REQUIREMENTS: Final = "dags/requirements.txt"
# The bucket, as Composer's components see it.
_MOUNT: Final = "/home/airflow/gcs"
# What tasks need to know of their surroundings.
TASKS: Final = {"DBT_PROJECT_DIR": f"{_MOUNT}/dags/dbt", "DBT_TARGET": "bigquery"}
# A command of Airflow starts a process in the environment, which takes a minute or two.
_COMMAND_SECONDS: Final = 600

Command = tuple[str, ...]


def imports(outputs: Outputs) -> list[Command]:
    """Return the commands that set Variables and connections from the deployed files."""
    found = [_run(outputs, "variables", "import", "--", f"{_MOUNT}/{VARIABLES}")]
    if outputs.connections:
        file = f"{_MOUNT}/{CONNECTIONS}"
        found.append(_run(outputs, "connections", "import", "--", file, "--overwrite"))
    return found


def updates(outputs: Outputs) -> list[Command]:
    """Return the commands that set the tasks' environment and install packages.

    Needed only when these have changed: Composer takes some minutes for each.
    """
    variables = ",".join(f"{name}={value}" for name, value in TASKS.items())
    return [
        _environments(outputs, "update", f"--update-env-variables={variables}"),
        _environments(outputs, "update", f"--update-pypi-packages-from-file={REQUIREMENTS}"),
    ]


def next_steps(outputs: Outputs, *, are_imported: bool) -> str:
    """Return what is left to do, for people."""
    lines = [] if are_imported else ["to set Variables and connections (--apply does it):"]
    lines += [] if are_imported else map(shlex.join, imports(outputs))
    lines.append("when these have changed, and where Terraform does not do it:")
    return "\n".join([*lines, *map(shlex.join, updates(outputs))])


def apply(outputs: Outputs) -> None:
    """Run the imports.

    Raises:
        DeploymentError: there is no gcloud, or it refuses.
    """
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise DeploymentError(
            "gcloud: is not installed; the files are deployed, Variables are as they were: run"
            " without --apply and give the commands that it prints where gcloud is"
        )
    for command in imports(outputs):
        shown = shlex.join(command)
        try:
            done = subprocess.run(  # noqa: S603 - a command of ours
                [gcloud, *command[1:]], capture_output=True, text=True, timeout=_COMMAND_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise DeploymentError(
                f"{shown}: no end within {_COMMAND_SECONDS} s; the files are deployed: give it"
                " again"
            ) from error
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[-500:]
            raise DeploymentError(
                f"{shown}: ended with {done.returncode}: {said}; the files are deployed: give it"
                " again when that is mended"
            )


def _run(outputs: Outputs, *arguments: str) -> Command:
    return _environments(outputs, "run", *arguments)


def _environments(outputs: Outputs, verb: str, *arguments: str) -> Command:
    name, project = outputs.composer_environment, outputs.market_ops["project"]
    where = ("--location", outputs.composer_location, "--project", project)
    return ("gcloud", "composer", "environments", verb, name, *where, *arguments)
