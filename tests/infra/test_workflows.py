"""GitHub's workflows: least rights, limits, pinned actions, commands that exist."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import yaml

from tests.infra import hcl

Workflow = dict[Any, Any]
Rule = Callable[[Workflow], Iterable[str]]

GITHUB = hcl.ROOT / ".github"
FILES = sorted((GITHUB / "workflows").glob("*.yml"))
MAKEFILE = (hcl.ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"(?m)^([a-z0-9-]+):.*## ", MAKEFILE))


def load(text: str) -> Workflow:
    workflow: Workflow = yaml.safe_load(text)
    workflow["on"] = workflow.pop(True, workflow.get("on"))  # YAML 1.1 reads `on` as true
    return workflow


def jobs(workflow: Workflow) -> dict[str, Any]:
    found: dict[str, Any] = workflow["jobs"]
    return found


def steps(workflow: Workflow) -> Iterable[dict[str, Any]]:
    for job in jobs(workflow).values():
        yield from job["steps"]


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
        if not 1 <= job.get("timeout-minutes", 0) <= 60:
            yield f"{name}: timeout-minutes: expected 1 to 60"
        if "latest" in job["runs-on"]:
            yield f"{name}: runs-on: expected a version"
    if "group" not in workflow.get("concurrency", {}):
        yield "concurrency: expected a group"


def safe_triggers(workflow: Workflow) -> Iterable[str]:
    if set(workflow["on"]) - {"pull_request", "push"}:
        yield f"on: {sorted(workflow['on'])}: a stranger's code must not meet our rights"


def pinned_actions(workflow: Workflow) -> Iterable[str]:
    for step in steps(workflow):
        action = step.get("uses")
        if action and not re.fullmatch(r"[\w.-]+/[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})", action):
            yield f"{action}: expected a whole version or a commit"
        if action and "checkout" in action and step.get("with") != {"persist-credentials": False}:
            yield "checkout: expected persist-credentials: false"


def no_text_of_strangers(workflow: Workflow) -> Iterable[str]:
    for step in steps(workflow):
        if "${{" in step.get("run", ""):
            yield f"{step['run']!r}: put the value into env"


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
      - uses: actions/checkout@v4.2.2
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
    (pinned_actions, "@v4.2.2", "@v4"),
    (pinned_actions, "@v4.2.2", "@main"),
    (pinned_actions, "{persist-credentials: false}", "{fetch-depth: 1}"),
    (no_text_of_strangers, "make check", 'echo "${{ github.event.pull_request.title }}"'),
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
    commands = {
        path.stem: " ".join(step.get("run", "") for step in steps(load(path.read_text("utf-8"))))
        for path in FILES
    }
    assert "make check" in commands["check"]
    assert "make test" in commands["check"]
    assert "terraform plan" in commands["plan"]
    assert "apply" not in commands["plan"]
    assert "--dry-run" in commands["deploy"].split("--apply")[0]


def test_environments_are_those_of_terraform() -> None:
    deploy = load((GITHUB / "workflows" / "deploy.yml").read_text("utf-8"))
    matrix = jobs(deploy)["deploy"]["strategy"]["matrix"]["environment"]
    assert matrix == [folder.name for folder in hcl.ENVIRONMENTS]


def test_updates_look_where_dependencies_are() -> None:
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text("utf-8"))["updates"]
    assert {each["package-ecosystem"] for each in updates} == {"pip", "github-actions", "terraform"}
    for each in updates:
        for folder in each.get("directories", [each.get("directory")]):
            assert (hcl.ROOT / folder.strip("/")).is_dir()
