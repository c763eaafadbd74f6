"""Every module says what it takes and gives, gets what it takes, and names nothing that is gone."""

import re
from pathlib import Path

import pytest

from tests.infra import hcl

IDS = [folder.name for folder in hcl.FOLDERS]
EVERY_FOLDER = pytest.mark.parametrize("folder", hcl.FOLDERS, ids=IDS)
# What holds no rule of its own: names and ids that another module made, numbers' mates.
FREE = {"string", "bool", "map(string)", "map(map(string))", "number"}


def module_of(call: hcl.Block, folder: Path) -> Path:
    return (folder / call.body["source"]).resolve()


def used(folder: Path, pattern: str) -> set[str]:
    return set(re.findall(pattern, hcl.text_of(folder)))


@EVERY_FOLDER
def test_files_parse_and_stand_in_their_places(folder: Path) -> None:
    assert {"main.tf", "variables.tf", "outputs.tf", "versions.tf"} <= {
        path.name for path in folder.glob("*.tf")
    }
    for block in hcl.blocks(folder):
        place = {"variable": "variables.tf", "output": "outputs.tf"}.get(block.kind)
        assert place is None or block.where.endswith(place), block


@EVERY_FOLDER
def test_variables_are_described_and_typed(folder: Path) -> None:
    for name, variable in hcl.of_kind(folder, "variable").items():
        assert re.search(r"\w.*\.$", variable.body.get("description", "")), name
        assert variable.body.get("type"), name


@pytest.mark.parametrize("folder", hcl.ENVIRONMENTS, ids=lambda folder: folder.name)
def test_all_that_people_choose_is_validated(folder: Path) -> None:
    for name, variable in hcl.of_kind(folder, "variable").items():
        (rule,) = variable.body.get("validation", [None])
        assert rule, f"{name}: has no validation"
        assert rule["error_message"].startswith(f"{name}: expected "), name


@EVERY_FOLDER
def test_lists_and_names_of_modules_are_validated(folder: Path) -> None:
    for name, variable in hcl.of_kind(folder, "variable").items():
        kind = variable.body["type"].removeprefix("${").removesuffix("}")
        is_free = kind in FREE or "validation" in variable.body or folder.name == "platform"
        assert is_free, f"{name}: a {kind} without a validation"


@EVERY_FOLDER
def test_outputs_are_described(folder: Path) -> None:
    for name, output in hcl.of_kind(folder, "output").items():
        assert output.body.get("description", "").endswith("."), name


@EVERY_FOLDER
def test_modules_get_what_they_take_and_nothing_else(folder: Path) -> None:
    for name, call in hcl.of_kind(folder, "module").items():
        variables = hcl.of_kind(module_of(call, folder), "variable")
        given = set(call.body) - {"source", "count", "for_each", "depends_on", "providers"}
        assert given == set(variables), name


@EVERY_FOLDER
def test_what_is_named_exists(folder: Path) -> None:
    variables = set(hcl.of_kind(folder, "variable"))
    assert used(folder, r"\bvar\.(\w+)") == variables, "declared and used differ"
    declared = {key for block in hcl.blocks(folder) if block.kind == "locals" for key in block.body}
    assert used(folder, r"\blocal\.(\w+)") == declared, "declared and used differ"
    resources = {*hcl.of_kind(folder, "resource"), *hcl.of_kind(folder, "data")}
    assert used(folder, r"(?<![\w.\"/])(?:data\.)?(google_\w+\.\w+)") <= resources


@EVERY_FOLDER
def test_outputs_of_modules_exist(folder: Path) -> None:
    calls = hcl.of_kind(folder, "module")
    for name, output in used(folder, r"\bmodule\.(\w+)(?:\[[\d*]\])?\.(\w+)"):
        assert output in hcl.of_kind(module_of(calls[name], folder), "output"), f"{name}.{output}"


@pytest.mark.parametrize("folder", hcl.MODULES, ids=lambda folder: folder.name)
def test_every_module_and_output_is_used(folder: Path) -> None:
    if folder.name == "platform":
        return
    callers = hcl.text_of(folder.parent / "platform")
    assert f'source          = "../{folder.name}"' in callers or f'"../{folder.name}"' in callers
    calls = hcl.of_kind(folder.parent / "platform", "module")
    names = [name for name, call in calls.items() if call.body["source"] == f"../{folder.name}"]
    for output in hcl.of_kind(folder, "output"):
        uses = any(re.search(rf"module\.{name}(\[\*\])?\.{output}\b", callers) for name in names)
        assert uses or (folder.name, output) == ("job", "name"), output


@EVERY_FOLDER
def test_versions_are_bounded(folder: Path) -> None:
    (block,) = (block for block in hcl.blocks(folder) if block.kind == "terraform")
    assert block.body["required_version"].startswith(">= 1.")
    (providers,) = block.body["required_providers"]
    assert {provider["version"] for provider in providers.values()} == {"~> 6.50"}


def test_environments_differ_in_what_main_says_only() -> None:
    dev, prod = hcl.ENVIRONMENTS
    for name in ("variables.tf", "outputs.tf", "versions.tf"):
        assert (dev / name).read_text("utf-8") == (prod / name).read_text("utf-8"), name


@pytest.mark.parametrize("folder", hcl.ENVIRONMENTS, ids=lambda folder: folder.name)
def test_state_is_remote(folder: Path) -> None:
    (block,) = (block for block in hcl.blocks(folder) if block.kind == "terraform")
    assert "gcs" in block.body["backend"][0]
    assert folder.name in ("dev", "prod")
    call = hcl.of_kind(folder, "module")["platform"]
    assert call.body["environment"] == folder.name


@pytest.mark.parametrize("folder", hcl.ENVIRONMENTS, ids=lambda folder: folder.name)
def test_example_names_what_has_no_default(folder: Path) -> None:
    example = (folder / "terraform.tfvars.example").read_text("utf-8")
    shown = set(re.findall(r"^(?:# )?(\w+) += ", example, re.MULTILINE))
    variables = hcl.of_kind(folder, "variable")
    needed = {name for name, variable in variables.items() if "default" not in variable.body}
    assert needed <= set(re.findall(r"^(\w+) += ", example, re.MULTILINE))
    assert shown <= set(variables)
