"""What no Terraform file may do. Each rule is shown a snippet that breaks it."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.infra import hcl

Rule = Callable[[hcl.Block], Iterable[str]]

BIG_ROLES = re.compile(r"^(roles/)?(owner|editor|viewer)$|\.admin$|Admin$")
# What holds data, and the argument that keeps it.
PROTECTED = {
    "google_bigquery_table": ("deletion_protection", "${var.is_protected}"),
    "google_bigquery_dataset": ("delete_contents_on_destroy", "${!var.is_protected}"),
    "google_storage_bucket": ("force_destroy", "${!var.is_protected}"),
}
NAMES = ("name", "account_id", "repository_id", "workload_identity_pool_id", "name_prefix")
SECRET_KEY = re.compile(r"password|token|private_key|credentials|api_key", re.IGNORECASE)
SECRET_TEXT = re.compile(r"-----BEGIN|AIza[\w-]{20}|ya29\.|ghp_\w{20}|xox[bp]-")


def no_primitive_roles(block: hcl.Block) -> Iterable[str]:
    for text in hcl.strings(block.body):
        for role in re.findall(r"[\w.]+(?:/[\w.]+)?", text):
            if BIG_ROLES.search(role) and (role.startswith("roles/") or "roles" in block.name):
                yield f"{role}: too much; name what is needed"


def no_public_members(block: hcl.Block) -> Iterable[str]:
    for text in hcl.strings(block.body):
        if re.search(r"allUsers|allAuthenticatedUsers", text):
            yield f"{text}: the public"


def no_public_buckets(block: hcl.Block) -> Iterable[str]:
    if block.labels[0] != "google_storage_bucket":
        return
    if block.body.get("public_access_prevention") != "enforced":
        yield 'public_access_prevention: expected "enforced"'
    if block.body.get("uniform_bucket_level_access") is not True:
        yield "uniform_bucket_level_access: expected true"
    if block.body.get("versioning") != [{"enabled": True}]:
        yield "versioning: expected enabled"
    if not block.body.get("lifecycle_rule"):
        yield "lifecycle_rule: expected one; else versions stay for ever"


def no_replaced_bindings(block: hcl.Block) -> Iterable[str]:
    if re.search(r"_iam_(policy|binding)$", block.labels[0]):
        yield "takes away what others were given; use _iam_member"


def no_secrets(block: hcl.Block) -> Iterable[str]:
    if block.labels[0] in ("google_secret_manager_secret_version", "google_service_account_key"):
        yield "its value would be in the state; people add it"
    for key, value in pairs(block.body):
        if SECRET_KEY.search(key) and isinstance(value, str) and not value.startswith("${"):
            yield f"{key}: a secret in text"
        if isinstance(value, str) and SECRET_TEXT.search(value):
            yield f"{key}: looks like a key"


def protected(block: hcl.Block) -> Iterable[str]:
    name, value = PROTECTED.get(block.labels[0], (None, None))
    if name and block.body.get(name) != value:
        yield f"{name}: expected {value}, was {block.body.get(name)!r}"


def no_addresses_on_the_internet(block: hcl.Block) -> Iterable[str]:
    if any(key == "access_config" for key, _ in pairs(block.body)):
        yield "access_config: machines have no address of their own"
    if block.body.get("ip_configuration", "WORKER_IP_PRIVATE") != "WORKER_IP_PRIVATE":
        yield "ip_configuration: expected WORKER_IP_PRIVATE"
    if "0.0.0.0/0" in block.body.get("source_ranges", []):
        yield "source_ranges: everybody"


def valid_names(block: hcl.Block) -> Iterable[str]:
    for key in NAMES:
        value = block.body.get(key)
        if not isinstance(value, str) or "${" in value or block.labels[0].startswith("google_log"):
            continue
        if not re.fullmatch(r"[a-z][a-z0-9-]{1,61}[a-z0-9]", value):
            yield f"{key}: expected lower-case letters, digits and '-', was {value!r}"


def explicit_project(block: hcl.Block) -> Iterable[str]:
    inherited = ("google_storage_bucket_iam_member", "google_service_account_iam_member")
    if block.labels[0] in (*inherited, "google_billing_budget"):
        return
    if block.body.get("project") != "${var.project}":
        yield "project: expected var.project"


RULES: tuple[Rule, ...] = (
    no_primitive_roles,
    no_public_members,
    no_public_buckets,
    no_replaced_bindings,
    no_secrets,
    protected,
    no_addresses_on_the_internet,
    valid_names,
    explicit_project,
)
BUCKET = """
resource "google_storage_bucket" "bad" {
  project                     = var.project
  name                        = "bad"
  force_destroy               = !var.is_protected
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  versioning { enabled = true }
  lifecycle_rule {
    action { type = "Delete" }
    condition { age = 1 }
  }
}
"""
BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (no_primitive_roles, 'resource "google_x" "y" { role = "roles/editor" }', "roles/editor"),
    (no_primitive_roles, 'resource "google_x" "y" { role = "roles/storage.admin" }', "admin"),
    (no_public_members, 'resource "google_x" "y" { member = "allUsers" }', "allUsers"),
    (no_public_buckets, BUCKET.replace('"enforced"', '"inherited"'), "public_access_prevention"),
    (no_public_buckets, BUCKET.replace("= true\n  public", "= false\n  public"), "uniform"),
    (no_public_buckets, BUCKET.replace("enabled = true", "enabled = false"), "versioning"),
    (no_public_buckets, BUCKET.replace("lifecycle_rule", "other"), "lifecycle_rule"),
    (no_replaced_bindings, 'resource "google_project_iam_binding" "y" {}', "_iam_member"),
    (no_secrets, 'resource "google_x" "y" { password = "hunter2" }', "password"),
    (no_secrets, 'resource "google_service_account_key" "y" {}', "state"),
    (no_secrets, 'resource "google_x" "y" { pem = "-----BEGIN PRIVATE" }', "looks like a key"),
    (protected, BUCKET.replace("!var.is_protected", "true"), "force_destroy"),
    (protected, 'resource "google_bigquery_table" "y" {}', "deletion_protection"),
    (no_addresses_on_the_internet, 'resource "g" "y" { a { access_config {} } }', "access_config"),
    (no_addresses_on_the_internet, 'resource "g" "y" { source_ranges = ["0.0.0.0/0"] }', "every"),
    (valid_names, 'resource "google_x" "y" { name = "Not_a_name" }', "Not_a_name"),
    (explicit_project, 'resource "google_x" "y" { project = "my-project" }', "var.project"),
)


def pairs(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key, each
            yield from pairs(each)
    elif isinstance(value, list):
        for each in value:
            yield from pairs(each)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule: Rule) -> None:
    resources = [
        block for folder in hcl.FOLDERS for block in hcl.blocks(folder) if block.kind == "resource"
    ]
    assert len(resources) > 40
    broken = [f"{b.where}: {b.name}: {what}" for b in resources for what in rule(b)]
    assert not broken


def test_no_big_role_hides_in_a_local() -> None:
    for folder in hcl.MODULES:
        text = hcl.text_of(folder)
        for role in re.findall(r'"((?:roles/)?[a-z]+(?:\.\w+)?)"', text):
            is_role = role.startswith("roles/") or "." in role
            assert not (is_role and BIG_ROLES.search(role)), f"{folder.name}: {role}"


@pytest.mark.parametrize(("rule", "snippet", "says"), BROKEN)
def test_rule_can_break(rule: Rule, snippet: str, says: str) -> None:
    (block,) = hcl.parse(snippet)
    assert any(says in what for what in rule(block))


def test_every_rule_was_seen_to_break() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_a_good_bucket_breaks_no_rule() -> None:
    (block,) = hcl.parse(BUCKET)
    assert not [what for rule in RULES for what in rule(block)]


def test_prod_is_protected() -> None:
    dev, prod = (hcl.of_kind(folder, "module")["platform"] for folder in hcl.ENVIRONMENTS)
    assert prod.body["is_protected"] is True
    assert dev.body["is_protected"] is False
