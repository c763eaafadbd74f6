"""Runs commands of gcloud and of a container engine."""

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
# A build may have to fetch its bases and all packages.
_GCLOUD_SECONDS: Final = 300.0
_IMAGE_SECONDS: Final = 3600.0
_PROGRAMS: Final = {"gcloud": "Google's Cloud CLI", "docker": "Docker or Podman"}
_MEND: Final = "mend that and run again"
# What is said, and what helps.
_REMEDIES: Final = (
    (
        "Unauthenticated|unauthorized|no basic auth",
        "let the engine push with `gcloud auth configure-docker HOST`, HOST being what the image's"
        " name begins with, and run again",
    ),
    ("active account", "log in with `gcloud auth login` and run again"),
    (
        "PERMISSION_DENIED|does not have permission|denied: Permission|\\b403\\b",
        "give the deploying account the roles of docs/security.md, or log in as another one",
    ),
)


def run(command: Command) -> str:
    """Run a command and return what it printed.

    Raises:
        DeploymentError: its program is not installed, or it refuses or does not end.
    """
    program = shutil.which(command[0])
    if program is None:
        wanted = _PROGRAMS.get(command[0], "it")
        raise DeploymentError(
            f"{command[0]}: is not installed, and nothing was done; install {wanted}, or run"
            f" without --apply and give the commands that it prints where {command[0]} is"
        )
    shown = shlex.join(command)
    seconds = _GCLOUD_SECONDS if command[0] == "gcloud" else _IMAGE_SECONDS
    try:
        done = subprocess.run(  # noqa: S603 - a command of ours
            [program, *command[1:]], cwd=_ROOT, capture_output=True, text=True, timeout=seconds
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
