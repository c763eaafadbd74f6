"""Builds the images: one Dockerfile a folder, the repository's root as context."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from images.engine import ROOT, Engine, EngineError

PYTHON_IMAGE: Final = "docker.io/library/python:3.11-slim-bookworm"
# Name to stage: what the compose file runs. The last stage of beam is Dataflow's.
STAGES: Final[Mapping[str, str]] = {
    "collector": "",
    "beam": "runtime",
    "sandbox": "",
    "airflow": "",
}


@dataclass(frozen=True)
class Built:
    """An image: its full name, its size in bytes, how long it took."""

    image: str
    size: int
    seconds: float


def image_name(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the full name of an image, as the compose file has it."""
    registry = environment.get("REGISTRY") or "localhost"
    return f"{registry}/{name}:{environment.get('VERSION') or 'dev'}"


def build_command(
    engine: Engine, name: str, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return the command that builds an image.

    Args:
        engine: docker or podman.
        name: of the image.
        environment: PYTHON_IMAGE for another base, by its digest for a release; VERSION, REVISION
            for the labels; IMAGE_BUILD_ARGS for more arguments, such as a proxy's certificates.
    """
    stage = STAGES[name]
    # Podman's own format has no health checks.
    form = ["--format", "docker"] if engine.name == "podman" else []
    arguments = [
        f"{variable}={environment[variable]}"
        for variable in ("PYTHON_IMAGE", "VERSION", "REVISION")
        if environment.get(variable)
    ]
    return [
        *(engine.name, "build", *form, "--file", f"images/{name}/Dockerfile"),
        *(["--target", stage] if stage else []),
        *(part for argument in arguments for part in ("--build-arg", argument)),
        *shlex.split(environment.get("IMAGE_BUILD_ARGS", "")),
        *("--tag", image_name(name, environment), "."),
    ]


def build_images(
    engine: Engine, names: Iterable[str], environment: Mapping[str, str] = os.environ
) -> Iterator[Built]:
    """Build images one after another; the engine's output is the caller's.

    Raises:
        EngineError: the base can't be had or a build failed.
    """
    engine.bring_image(environment.get("PYTHON_IMAGE") or PYTHON_IMAGE)
    for name in names:
        began = time.monotonic()
        command = build_command(engine, name, environment)
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if code:
            raise EngineError(f"{shlex.join(command)} failed with {code}: see its lines above")
        image = image_name(name, environment)
        yield Built(image, engine.size(image), time.monotonic() - began)
