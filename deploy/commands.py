"""Runs commands of gcloud."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

from deploy.bucket import DeploymentError

Command = tuple[str, ...]
# Files of ours are named as the repository has them.
_ROOT: Final = Path(__file__).parents[1]
_MEND: Final = "mend that and run again"
# What gcloud says, and what helps.
_REMEDIES: Final = (
    ("active account", "log in with `gcloud auth login` and run again"),
    (
        "PERMISSION_DENIED|does not have permission|\\b403\\b",
        "give the deploying account the roles of docs/security.md, or log in as another one",
    ),
)


def run(command: Command, seconds: float = 300.0) -> str:
    """Run a command and return what it printed.

    Args:
        command: begins with gcloud.
        seconds: it may take so long.

    Raises:
        DeploymentError: there is no gcloud, or it refuses or does not end.
    """
    gcloud = shutil.which(command[0])
    if gcloud is None:
        raise DeploymentError(
            f"{command[0]}: is not installed, and nothing was done; install Google's Cloud CLI, or"
            " run without --apply and give the commands that it prints where gcloud is"
        )
    shown = shlex.join(command)
    try:
        done = subprocess.run(  # noqa: S603 - a command of ours
            [gcloud, *command[1:]], cwd=_ROOT, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise DeploymentError(
            f"{shown}: no end within {seconds:.0f} s; look at the console, then run again"
        ) from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-500:]
        remedy = next((remedy for words, remedy in _REMEDIES if re.search(words, said)), _MEND)
        raise DeploymentError(f"{shown}: ended with {done.returncode}: {said}; {remedy}")
    return done.stdout.strip()
