"""Every right that Terraform gives, as (account, role, where): its `_iam_member` resources, with
their `for_each` worked out."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.infra import hcl

Grant = tuple[str, str, str]

# What stands for a role or an account that another module made.
_CUSTOM_ROLES = {"table_appender": "tableAppender", "snapshot_keeper": "snapshotKeeper"}
_MEMBERS = {"local.pubsub": "Pub/Sub", "var.deployer": "deployer", "var.readers": "readers"}
# By resource: the argument that says where, and what it says there.
_PLACES = {
    "google_project": ("project", "project", r"var\.project"),
    "google_pubsub_topic": ("topic", "topic", r"google_pubsub_topic\.(\w+)\.id"),
    "google_pubsub_subscription": (
        *("subscription", "subscription"),
        r"google_pubsub_subscription\.(\w+)\.id",
    ),
    "google_bigquery_dataset": (
        *("dataset_id", "dataset"),
        r'google_bigquery_dataset\.all\["(\w+)"\]\.dataset_id',
    ),
    "google_storage_bucket": (
        *("bucket", "bucket"),
        r"google_storage_bucket\.(\w+)\.name|var\.(state)_bucket|local\.bucket",
    ),
    "google_artifact_registry_repository": ("repository", "registry", r".*\.images\.name"),
    "google_secret_manager_secret": ("secret_id", "secrets", r".*\.secret_id"),
    "google_service_account": (
        *("service_account_id", "account"),
        r'google_service_account\.all\["([\w-]+)"\]\.name',
    ),
}


def grants() -> set[Grant]:
    """Return every right."""
    return {
        grant
        for folder in hcl.MODULES
        for block in hcl.blocks(folder)
        if block.kind == "resource" and block.labels[0].endswith("_iam_member")
        for grant in _of(block, _locals(folder))
    }


def _locals(folder: Path) -> dict[str, Any]:
    found = [block.body for block in hcl.blocks(folder) if block.kind == "locals"]
    return {name: value for body in found for name, value in body.items()}


def _of(block: hcl.Block, known: dict[str, Any]) -> Iterator[Grant]:
    argument, kind, pattern = _PLACES[block.labels[0].removesuffix("_iam_member")]
    for each in _elements(block.body.get("for_each"), known):
        role, member, place = (
            _filled(block.body[name], each) for name in ("role", "member", argument)
        )
        for name, custom in _CUSTOM_ROLES.items():
            role = custom if name in role else role
        match = re.fullmatch(pattern, place)
        assert match, f"{block.where}: {block.name}: {place}"
        named = next(filter(None, match.groups()), "composer" if kind == "bucket" else "")
        account = _account(member, each)
        where = "itself" if member.startswith("principal:") else f"{kind} {named}".strip()
        yield account, role, where


def _elements(loop: str | None, known: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the keys and values of a `for_each`; one without a name where there is none."""
    text = (loop or "").removeprefix("${").removesuffix("}")
    if not text:
        return [("", "")]
    if text == "local.project_bindings":
        return [
            (role, {"account": account, "role": f"roles/{role}"})
            for account, roles in known["project_roles"].items()
            for role in roles
        ]
    if difference := re.fullmatch(r"setsubtract\(keys\(local\.(\w+)\), local\.(\w+)\)", text):
        less = {key for key, _ in _elements(known[difference[2]], known)}
        return [(key, key) for key in known[difference[1]] if key not in less]
    if (name := text.removeprefix("local.")) in known:
        value = known[name]
        return list(value.items()) if isinstance(value, dict) else _elements(value, known)
    if text.startswith("toset("):
        return [(each, each) for each in re.findall(r'"([^"]+)"', text)]
    if text.startswith("var.repository == null"):
        return [(key, key) for key in re.findall(r"(\w[\w-]*) = \"", text)]
    assert text in ("var.secrets", "var.readers"), text
    return [(text, text)]


def _filled(text: str, each: tuple[str, Any]) -> str:
    """Return an argument with the element put in, without the marks of an expression."""
    key, value = each
    if isinstance(value, dict):
        for name, inner in value.items():
            bare = inner.removeprefix("${").removesuffix("}")
            text = text.replace(f"[each.value.{name}]", f'["{bare}"]')
            text = text.replace(f"each.value.{name}", bare)
    else:
        text = text.replace("[each.value]", f'["{value}"]').replace("each.value", str(value))
    text = text.replace("[each.key]", f'["{key}"]')
    is_expression = text.startswith("${") and text.endswith("}")
    return text[2:-1] if is_expression else text


def _account(member: str, each: tuple[str, Any]) -> str:
    if member.startswith("principal:"):
        return each[0]
    if found := re.fullmatch(
        r'(?:google_service_account\.all|var\.members)\["([\w-]+)"\].*', member
    ):
        return found[1]
    return _MEMBERS[member]
