"""GitHub's workflows: least rights, limits, pinned actions, commands that exist."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra import hcl

Workflow = dict[Any, Any]
Rule = Callable[[Workflow], Iterable[str]]

GITHUB = hcl.ROOT / ".github"
FILES = sorted((GITHUB / "workflows").glob("*.yml"))
MAKEFILE = (hcl.ROOT / "Makefile").read_text("utf-8")
IMAGES = sorted(path.parent.name for path in (hcl.ROOT / "images").glob("*/Dockerfile"))
TARGETS = set(re.findall(r"(?m)^([a-z0-9-]+):.*## ", MAKEFILE))


def load(text: str) -> Workflow:
    workflow: Workflow = yaml.safe_load(text)
    workflow["on"] = workflow.pop(True, workflow.get("on"))  # YAML 1.1 reads `on` as true
    return workflow


def jobs(workflow: Workflow) -> dict[str, Any]:
    """Return the jobs that have steps; the others call a workflow of ours, which is held itself."""
    return {
        name: job
        for name, job in workflow["jobs"].items()
        if not job.get("uses", "").startswith("./.github/workflows/")
    }


def steps(workflow: Workflow) -> Iterable[dict[str, Any]]:
    for job in jobs(workflow).values():
        yield from job["steps"]


def named(name: str) -> Workflow:
    """Return a workflow of ours."""
    return load((GITHUB / "workflows" / f"{name}.yml").read_text("utf-8"))


def scripts(name: str) -> str:
    """Return everything that a workflow runs in a shell."""
    return "\n".join(step.get("run", "") for step in steps(named(name)))


def least_rights(workflow: Workflow) -> Iterable[str]:
    if workflow.get("permissions") not in ({}, {"contents": "read"}):
        yield "permissions: expected contents: read, and more at the job that needs it"
    for name, job in jobs(workflow).items():
        extra = set(job.get("permissions", {}).items()) - {("contents", "read")}
        if extra - {("id-token", "write")}:
            yield f"{name}: permissions: {extra}"
        is_logged_in = any(
            "google-github-actions/auth" in step.get("uses", "") for step in job["steps"]
        )
        if bool(extra) != is_logged_in:
            yield f"{name}: id-token goes with google-github-actions/auth"


def limits(workflow: Workflow) -> Iterable[str]:
    for name, job in jobs(workflow).items():
        if not 1 <= job.get("timeout-minutes", 0) <= 120:
            yield f"{name}: timeout-minutes: expected 1 to 120"
        if "latest" in job["runs-on"]:
            yield f"{name}: runs-on: expected a version"
    if "group" not in workflow.get("concurrency", {}):
        yield "concurrency: expected a group"


def safe_triggers(workflow: Workflow) -> Iterable[str]:
    if set(workflow["on"]) - {"pull_request", "push", "workflow_call"}:
        yield f"on: {sorted(workflow['on'])}: a stranger's code must not meet our rights"


def pinned_actions(workflow: Workflow) -> Iterable[str]:
    for step in steps(workflow):
        action = step.get("uses")
        if action and not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action):
            yield f"{action}: expected a commit; a tag can be moved"
        if action and "checkout" in action and step.get("with") != {"persist-credentials": False}:
            yield "checkout: expected persist-credentials: false"


def no_text_of_strangers(workflow: Workflow) -> Iterable[str]:
    for step in steps(workflow):
        if "${{" in step.get("run", ""):
            yield f"{step['run']!r}: put the value into env"


def pipes_that_fail(workflow: Workflow) -> Iterable[str]:
    by_name = workflow.get("defaults", {}).get("run", {}).get("shell")
    for step in steps(workflow):
        is_piped = re.search(r"(?<!\|)\|(?!\|)", step.get("run", ""))
        if is_piped and step.get("shell", by_name) != "bash":
            yield f"{step['run']!r}: expected shell: bash, else only the last command's code counts"


def known_commands(workflow: Workflow) -> Iterable[str]:
    for step in steps(workflow):
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
            if target not in TARGETS:
                yield f"make {target}: there is no such target"


def no_keys(workflow: Workflow) -> Iterable[str]:
    for text in hcl.strings({str(key): value for key, value in workflow.items()}):
        if "secrets." in text or "credentials_json" in text:
            yield f"{text}: no keys; workload identity"


RULES: tuple[Rule, ...] = (
    least_rights,
    limits,
    safe_triggers,
    pinned_actions,
    no_text_of_strangers,
    pipes_that_fail,
    known_commands,
    no_keys,
)
GOOD = """
on: {push: {branches: [main]}}
permissions: {contents: read}
concurrency: {group: x}
jobs:
  one:
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683
        with: {persist-credentials: false}
      - run: make check
"""
BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (least_rights, "{contents: read}", "write-all"),
    (least_rights, "    steps:", "    permissions: {packages: write}\n    steps:"),
    (least_rights, "    steps:", "    permissions: {id-token: write}\n    steps:"),
    (limits, "timeout-minutes: 5", "name: x"),
    (limits, "ubuntu-24.04", "ubuntu-latest"),
    (limits, "concurrency: {group: x}", "name: x"),
    (safe_triggers, "push: {branches: [main]}", "pull_request_target: {}"),
    (pinned_actions, "@11bd71901bbe5b1630ceea73d27597364c9af683", "@v4.2.2"),
    (pinned_actions, "@11bd71901bbe5b1630ceea73d27597364c9af683", "@main"),
    (pinned_actions, "{persist-credentials: false}", "{fetch-depth: 1}"),
    (no_text_of_strangers, "make check", 'echo "${{ github.event.pull_request.title }}"'),
    (pipes_that_fail, "make check", "make check | tee log"),
    (known_commands, "make check", "make everything"),
    (no_keys, "make check", "echo $X\n        env: {X: '${{ secrets.KEY }}'}"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rule_holds(path: Any, rule: Rule) -> None:
    assert not list(rule(load(path.read_text("utf-8"))))


@pytest.mark.parametrize(("rule", "old", "new"), BROKEN)
def test_rule_can_break(rule: Rule, old: str, new: str) -> None:
    assert not list(rule(load(GOOD)))
    assert old in GOOD
    assert list(rule(load(GOOD.replace(old, new))))


def test_every_rule_was_seen_to_break() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_pull_requests_check_test_and_plan() -> None:
    for command in (
        "make check",
        "make test",
        "make compose-test",
        "init -backend=false",
        "validate",
    ):
        assert command in scripts("check")
    assert "terraform plan" in scripts("plan")
    assert "apply" not in scripts("plan")
    assert re.findall(r"make (deploy-\w+).*?(--[a-z-]+)\W*$", scripts("deploy"), re.MULTILINE) == [
        ("deploy-job", "--apply"),
        ("deploy-dags", "--dry-run"),
        ("deploy-dags", "--apply"),
    ]


def test_a_pin_says_its_version() -> None:
    for path in FILES:
        for line in re.findall(r"uses: (\S+@.*)", path.read_text("utf-8")):
            assert re.search(r" # v\d+\.\d+\.\d+$", line), f"{path.name}: {line}"


def test_an_action_has_one_pin() -> None:
    pins = {
        tuple(step["uses"].split("@"))
        for path in FILES
        for step in steps(load(path.read_text("utf-8")))
        if "uses" in step
    }
    assert len(pins) == len({action for action, _ in pins})


def test_every_image_is_built_listed_and_scanned_before_it_is_kept() -> None:
    (job,) = jobs(named("images")).values()
    assert job["strategy"]["matrix"]["image"] == IMAGES
    actions = [step.get("uses", step.get("name", "")).split("@")[0] for step in job["steps"]]
    assert actions == [
        *("actions/checkout", "build", "anchore/sbom-action", "anchore/scan-action"),
        *("keep", "actions/upload-artifact"),
    ]
    scan = job["steps"][3]["with"]
    assert (scan["fail-build"], scan["severity-cutoff"]) == (True, "high")
    assert "if" not in job["steps"][3]


def test_nothing_is_deployed_before_it_was_checked_and_scanned() -> None:
    workflow = named("deploy")
    assert workflow["jobs"]["images"] == {"uses": "./.github/workflows/images.yml"}
    assert workflow["jobs"]["deploy"]["needs"] == ["check", "images"]
    assert workflow["jobs"]["deploy"]["strategy"]["max-parallel"] == 1


@pytest.mark.integration
@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("zstd")), reason="no jq or no zstd")
@pytest.mark.parametrize("is_there", [False, True])
def test_images_are_pushed_once_under_the_name_that_workers_ask_for(
    tmp_path: Path, is_there: bool
) -> None:
    (step,) = (
        step
        for step in jobs(named("deploy"))["deploy"]["steps"]
        if step.get("name") == "push images"
    )
    programs, built = tmp_path / "bin", tmp_path / "built"
    environments = tmp_path / "deploy" / "environments"
    for folder in (programs, built, environments):
        folder.mkdir(parents=True)
    for image in ("beam", "collector"):
        subprocess.run(
            ["zstd", "-q", "-o", str(built / f"{image}.tar.zst")], input=image.encode(), check=True
        )
    registry = "europe-west1-docker.pkg.dev/my-project/images"
    (environments / "dev.json").write_text(json.dumps({"registry": {"value": registry}}))
    describe = "true" if is_there else '[ "$2" != docker ]'
    for name, script in (
        ("docker", 'echo "$*" >> calls; case $1 in build|load) cat >> calls;; esac'),
        ("gcloud", f'echo "$*" >> calls; {describe}'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=tmp_path,
        env={
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "ENVIRONMENT": "dev",
            "GITHUB_REF_NAME": "v1.2.3",
            "GITHUB_SHA": "0123abc",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text()
    assert calls.startswith("auth configure-docker --quiet europe-west1-docker.pkg.dev\n")
    pushed = [f"{registry}/collector:1.2.3", f"{registry}/beam:1.2.3"]
    assert re.findall(r"^push (\S+)$", calls, re.MULTILINE) == ([] if is_there else pushed)
    if not is_there:
        assert f"FROM beam:0123abc\nENV BEAM_JOBS_IMAGE={registry}/beam:1.2.3\n" in calls


def test_environments_are_those_of_terraform() -> None:
    matrix = jobs(named("deploy"))["deploy"]["strategy"]["matrix"]["environment"]
    assert matrix == [folder.name for folder in hcl.ENVIRONMENTS]


def test_updates_look_where_dependencies_are() -> None:
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text("utf-8"))["updates"]
    folders = {each["package-ecosystem"]: each.get("directories") for each in updates}
    assert set(folders) == {"pip", "docker", "github-actions", "terraform"}
    assert folders["docker"] == [f"/images/{name}" for name in IMAGES]
    for each in updates:
        for folder in each.get("directories", [each.get("directory")]):
            assert (hcl.ROOT / folder.strip("/")).is_dir()
