"""Rules that every Dockerfile keeps; `make compose-test` builds and runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from images.build import PYTHON_IMAGE, STAGES
from images.engine import ROOT

DOCKERFILES = {path.parent.name: path for path in (ROOT / "images").glob("*/Dockerfile")}
REQUIREMENTS = {"collector": "collector", "beam": "beam_jobs", "airflow": "dags"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return instruction and arguments, continued lines joined, comments left out."""
    text = re.sub(r"\\\n", " ", path.read_text("utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [
        (word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word != "#"
    ]


def final_stage(path: Path, stage: str) -> list[tuple[str, str]]:
    """Return the instructions of a stage, of the last one when none is named."""
    stages: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions(path):
        if word == "FROM":
            name = rest.split(" AS ")[-1]
        stages.setdefault(name, []).append((word, rest))
    return stages[stage or name]


def test_there_is_one_for_each_image_and_nothing_else() -> None:
    assert DOCKERFILES.keys() == STAGES.keys()


@pytest.mark.parametrize("name", sorted(STAGES))
def test_bases_are_pinned_and_the_same(name: str) -> None:
    found = dict(
        rest.split("=", 1)
        for word, rest in instructions(DOCKERFILES[name])
        if word == "ARG" and rest.split("=")[0].endswith("_IMAGE") and "=" in rest
    )
    assert found["PYTHON_IMAGE"] == PYTHON_IMAGE
    for base in found.values():
        tag = base.rpartition(":")[2]
        assert re.match(r"\d", tag), f"{base}: expected a tag that begins with a version"
    for word, rest in instructions(DOCKERFILES[name]):
        if word == "FROM":
            base = rest.split(" AS ")[0].strip("${}")
            assert base in found or base == "runtime", rest


@pytest.mark.parametrize("name", sorted(STAGES))
def test_final_stage_is_labelled_unprivileged_and_has_no_tools(name: str) -> None:
    stage = final_stage(DOCKERFILES[name], STAGES[name])
    words = [word for word, _ in stage]
    assert ("USER", "10001:10001") in stage
    assert {"LABEL", "ENTRYPOINT", "STOPSIGNAL"} <= {*words}
    label = next(rest for word, rest in stage if word == "LABEL")
    for part in ("title", "description", "version", "revision", "base.name"):
        assert f"org.opencontainers.image.{part}=" in label
    for word, rest in stage:
        assert not (word == "RUN" and re.search(r"apt|pip|curl|uv ", rest)), rest
        # Its own code and packages come from the build stage, never the repository as it lies.
        assert word != "COPY" or rest.startswith("--from="), rest


@pytest.mark.parametrize("name", sorted(REQUIREMENTS))
def test_packages_are_its_own_and_exactly_the_lock(name: str) -> None:
    text = DOCKERFILES[name].read_text("utf-8")
    assert f"COPY requirements/{REQUIREMENTS[name]}.txt " in text
    assert "--no-deps" in text
    assert "pip check" in text


def test_uv_is_the_one_that_sets_up_this_repository() -> None:
    setup = (ROOT / "sandbox" / "bootstrap.py").read_text("utf-8")
    version = re.search(r'UV = "uv==([\d.]+)"', setup)
    assert version
    for path in DOCKERFILES.values():
        assert f"ARG UV_VERSION={version[1]}\n" in path.read_text("utf-8")


def test_beam_is_the_version_of_the_lock() -> None:
    lock = (ROOT / "requirements" / "beam_jobs.txt").read_text("utf-8")
    version = re.search(r"^apache-beam(?:\[gcp\])?==([\d.]+)", lock, re.MULTILINE)
    assert version
    text = DOCKERFILES["beam"].read_text("utf-8")
    assert f"ARG BEAM_SDK_IMAGE=docker.io/apache/beam_python3.11_sdk:{version[1]}\n" in text


def test_dataflow_stage_is_launcher_and_worker() -> None:
    stage = final_stage(DOCKERFILES["beam"], "dataflow")
    text = "\n".join(f"{word} {rest}" for word, rest in stage)
    assert "COPY --from=sdk /opt/apache/beam /opt/apache/beam" in text
    assert "/opt/google/dataflow/python_template_launcher" in text
    assert "FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/app/beam_jobs/template.py" in text
    assert "BEAM_JOBS_IMAGE=${BEAM_JOBS_IMAGE}" in text
    assert ("ENTRYPOINT", '["/opt/apache/beam/boot"]') in stage


def test_context_is_a_list_of_what_is_needed() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    for path in DOCKERFILES.values():
        for word, rest in instructions(path):
            if word == "COPY" and not rest.startswith("--from="):
                for source in rest.split()[:-1]:
                    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
                    assert any(Path(source).match(rule) for rule in allowed), source


def test_every_service_is_hardened_limited_and_on_loopback() -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))
    steps = {"provision", "airflow-migrate", "certificate"}
    for name, service in document["services"].items():
        assert service["networks"], name
        assert "PASSWORD: " not in str(service), name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), (name, port)
        if name not in steps:
            assert service["healthcheck"]["test"], name
            assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        if name != "postgres":
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
            image = service["image"].split("/")[-1].split(":")[0]
            assert service["build"]["dockerfile"] == f"images/{image}/Dockerfile"
            assert service["build"].get("target", "") == STAGES[image]
    profiles = {name: each.get("profiles") for name, each in document["services"].items()}
    assert profiles["exchange"] == profiles["collector"] == ["simulated"]
    assert profiles["collector-live"] == ["live"]
    for name, service in document["services"].items():
        for needed, wanted in service.get("depends_on", {}).items():
            is_step = needed in steps
            condition = "service_completed_successfully" if is_step else "service_healthy"
            assert wanted["condition"] == condition, (name, needed)


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yaml").read_text("utf-8")
    for found in re.findall(r"\$\{(\w*(?:PASSWORD|KEY))([^}]*)\}", text):
        assert found[1].startswith(":?run make env"), found
