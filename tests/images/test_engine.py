"""Finding a container engine, with stand-ins on PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.build import build_command, image_name
from images.engine import Engine, EngineError, find_engine


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH with a shell; programs are added by `program`."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    path.chmod(0o755)


def test_docker_whose_engine_answers_comes_first(programs: Path) -> None:
    program(programs, "docker", "exit 0")
    program(programs, "podman", "exit 0")
    assert find_engine({}) == Engine("docker", ("docker", "compose"))
    assert find_engine({"CONTAINER_ENGINE": "podman"}).name == "podman"


def test_a_client_without_an_engine_is_passed_over(programs: Path) -> None:
    program(programs, "docker", "exit 1")
    program(programs, "podman", '[ "$1" = info ]')
    found = find_engine({})
    assert found.name == "podman"
    assert found.compose[0].endswith("podman-compose")


def test_no_engine_says_what_was_tried(programs: Path) -> None:
    program(programs, "docker", "exit 1")
    with pytest.raises(EngineError) as raised:
        find_engine({})
    assert str(raised.value) == (
        "no container engine: docker is installed, but `docker info` fails; podman is not "
        "installed; install Docker or podman"
    )
    with pytest.raises(EngineError, match="expected docker or podman, was 'lxc'"):
        find_engine({"CONTAINER_ENGINE": "lxc"})


def test_an_image_that_cannot_be_pulled_names_the_remedy(programs: Path) -> None:
    program(programs, "podman", 'echo "no route" >&2; exit 125')
    with pytest.raises(EngineError, match=r"^python:3 is not here and can't be pulled \(no route"):
        Engine("podman", ()).bring_image("python:3")


@pytest.mark.parametrize(
    ("state", "check", "fault"),
    [
        ('{"Status": "running", "ExitCode": 0}', "exit 0", ""),
        ('{"Status": "running", "ExitCode": 0}', "echo refused; exit 1", "refused"),
        ('{"Status": "running", "ExitCode": 0}', "echo has no defined healthcheck >&2; exit 1", ""),
        ('{"Status": "exited", "ExitCode": 0}', "exit 1", ""),
        ('{"Status": "exited", "ExitCode": 3}', "exit 0", "exited, exit code 3"),
        ('{"Status": "created", "ExitCode": 0}', "exit 0", "created, exit code 0"),
    ],
)
def test_what_is_wrong_with_a_container(programs: Path, state: str, check: str, fault: str) -> None:
    program(programs, "podman", f"if [ $1 = inspect ]; then echo '{state}'; else {check}; fi")
    assert Engine("podman", ()).fault_of("one") == fault


def test_build_takes_base_labels_and_more_from_the_environment() -> None:
    environment = {
        **{"PYTHON_IMAGE": "python@sha256:1", "VERSION": "1.2.3", "REVISION": ""},
        **{"REGISTRY": "r/p", "IMAGE_BUILD_ARGS": "--network=host --volume '/a b:/a'"},
    }
    assert build_command(Engine("podman", ()), "beam", environment) == [
        *("podman", "build", "--format", "docker", "--file", "images/beam/Dockerfile"),
        *("--target", "runtime", "--build-arg", "PYTHON_IMAGE=python@sha256:1"),
        *("--build-arg", "VERSION=1.2.3", "--network=host", "--volume", "/a b:/a"),
        *("--tag", "r/p/beam:1.2.3", "."),
    ]
    assert "--format" not in build_command(Engine("docker", ()), "collector", {})
    assert image_name("collector", {}) == "localhost/collector:dev"
