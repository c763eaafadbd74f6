"""The container engine of this machine: docker or podman, and the compose command beside it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_PROBE_SECONDS: Final = 30


class EngineError(Exception):
    """There is no engine that can do it; the message says what was tried and what to do."""


@dataclass(frozen=True)
class Engine:
    """A container engine.

    Attributes:
        name: docker or podman.
        compose: the compose command; empty when there is none.
    """

    name: str
    compose: tuple[str, ...]

    def run(
        self, *arguments: str, check: bool = True, seconds: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine and return what it printed.

        Raises:
            EngineError: it failed; the message has its last lines.
        """
        return _run([self.name, *arguments], {}, check, seconds)

    def run_compose(
        self,
        *arguments: str,
        environment: Mapping[str, str],
        check: bool = True,
        seconds: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of compose with the repository's file; see `run`.

        Raises:
            EngineError: it failed.
        """
        return _run([*self.compose, *arguments], environment, check, seconds)

    def has_image(self, image: str) -> bool:
        """Whether an image is here already."""
        return self.run("image", "inspect", image, check=False).returncode == 0

    def bring_image(self, image: str) -> None:
        """Make sure that an image is here; pull it where it is not.

        Raises:
            EngineError: it can't be pulled.
        """
        if self.has_image(image):
            return
        done = self.run("pull", "--quiet", image, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise EngineError(
                f"{image} is not here and can't be pulled ({reason}); where no registry is reached,"
                " `sh images/stand_ins/make.sh` makes stand-ins for podman"
            )

    def size(self, image: str) -> int:
        """Return the size of an image in bytes, all its layers."""
        found = json.loads(self.run("image", "inspect", image).stdout)
        return int(found[0]["Size"])

    def containers(self, project: str) -> dict[str, str]:
        """Return the containers of a compose project, ended ones too: service by name."""
        label = "com.docker.compose"
        text = self.run(
            *("ps", "--all", "--filter", f"label={label}.project={project}"),
            *("--format", "{{.Names}}"),
        ).stdout
        found = {}
        for name in text.split():
            labels = json.loads(
                self.run("inspect", "--format", "{{json .Config.Labels}}", name).stdout
            )
            found[name] = labels[f"{label}.service"]
        return found

    def fault_of(self, container: str) -> str:
        """Return why a container is not well, empty when it is: it runs and its check passes.

        Podman is asked to run the check: without systemd it does not by itself.
        """
        state = json.loads(self.run("inspect", "--format", "{{json .State}}", container).stdout)
        if state["Status"] == "exited" and state["ExitCode"] == 0:
            return ""  # a step that ran once
        if state["Status"] != "running":
            return f"{state['Status']}, exit code {state['ExitCode']}"
        if self.name == "docker":
            health = (state.get("Health") or {"Status": "healthy"})["Status"]
            return "" if health == "healthy" else str(health)
        done = self.run("healthcheck", "run", container, check=False)
        has_none = "no defined healthcheck" in done.stderr
        return "" if done.returncode == 0 or has_none else (done.stdout + done.stderr).strip()


def find_engine(environment: Mapping[str, str] = os.environ) -> Engine:
    """Return docker where its engine answers, else podman; $CONTAINER_ENGINE names one.

    Raises:
        EngineError: neither is there.
    """
    wanted = environment.get("CONTAINER_ENGINE", "")
    if wanted not in ("", "docker", "podman"):
        raise EngineError(f"CONTAINER_ENGINE: expected docker or podman, was {wanted!r}")
    tried = []
    for name in [wanted] if wanted else ["docker", "podman"]:
        if shutil.which(name) is None:
            tried.append(f"{name} is not installed")
        elif not _answers([name, "info"]):
            tried.append(f"{name} is installed, but `{name} info` fails")
        else:
            return Engine(name, _compose(name))
    raise EngineError(f"no container engine: {'; '.join(tried)}; install Docker or podman")


def _compose(engine: str) -> tuple[str, ...]:
    if _answers([engine, "compose", "version"]):
        return engine, "compose"
    beside = Path(sys.executable).with_name("podman-compose")  # of the development requirements
    if engine == "podman" and (beside.exists() or shutil.which("podman-compose")):
        return (str(beside) if beside.exists() else "podman-compose",)
    return ()


def _answers(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _run(
    command: Sequence[str], environment: Mapping[str, str], check: bool, seconds: float | None
) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{shlex.join(command)} did not end within {seconds:.0f} s") from error
    if check and done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise EngineError(f"{shlex.join(command)} failed with {done.returncode}:\n{tail}")
    return done
