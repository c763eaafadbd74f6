"""The documents say what the code does: nothing is missing from them, nothing in them is gone."""

import argparse
import ast
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from collector import settings as collector_settings
from collector.budget import Budget
from collector.continuity import Continuity
from collector.intake import Intake
from collector.metrics import CollectorMetrics
from collector.outbox import Outbox, OutboxCounts
from collector.sealing import Sealer
from market_data.channels import CHANNELS, CONTROL
from market_data.rejections import Reason
from market_data.tables import TABLES
from sandbox import cli
from sandbox import settings as sandbox_settings
from tests.docs import markdown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DECISIONS = DOCS / "decisions"
CONFIGURATION = DOCS / "configuration.md"
ARCHITECTURE = DOCS / "architecture.md"
ERRORS = DOCS / "errors.md"
README = ROOT / "README.md"


DOCUMENTS = sorted(
    path for folder, pattern in ((ROOT, "*.md"), (DOCS, "**/*.md")) for path in folder.glob(pattern)
)


def documented(path: Path, heading: str, column: int = 0) -> set[str]:
    """Return the names in a section's tables; each may stand there once."""
    found = markdown.names(path, heading, column)
    assert len(found) == len(set(found)), f"{path.name}, {heading}: a name stands there twice"
    return set(found)


def source(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def flags_added_in(path: str) -> set[str]:
    """Return the flags that a file's calls of `add_argument` (or `add`) name."""
    firsts = [
        call.args[0]
        for call in ast.walk(ast.parse(source(path)))
        if isinstance(call, ast.Call) and call.args
    ]
    texts = [str(first.value) for first in firsts if isinstance(first, ast.Constant)]
    return {text for text in texts if re.fullmatch(r"--[a-z][a-z_-]*", text)}


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the sandbox's commands, without the internal one."""
    action = next(
        action
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    parsers = cast("dict[str, argparse.ArgumentParser]", action.choices)
    return {name: parser for name, parser in parsers.items() if name != "supervise"}


# --- configuration.md


def test_collector_variables_and_their_defaults() -> None:
    shown = {
        cells[0].strip("`"): cells[1].strip("`")
        for cells in markdown.rows(CONFIGURATION, "Collector: variables")
    }
    defaults = collector_settings.describe(collector_settings.Settings())
    assert shown == {name: value or "nothing" for name, value in defaults.items()}


def test_collector_metrics() -> None:
    outbox = SimpleNamespace(counts=OutboxCounts(), pending_frames=0, spool_bytes=0)
    intake = Intake(
        cast(Sealer, None),
        Continuity("spot"),
        cast(Outbox, outbox),
        run_id="",
        frame_bytes=1,
        heal_max_ids=0,
        grace=0,
    )
    families = CollectorMetrics(
        cast(Outbox, outbox), list, intake, Continuity("spot"), Budget()
    ).collect()
    exposed = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert documented(CONFIGURATION, "Collector: metrics") == exposed


def test_collector_paths() -> None:
    served = set(re.findall(r'add_get\("([^"]+)"', source("collector/http.py")))
    assert documented(CONFIGURATION, "Collector: HTTP") == served


def test_job_options() -> None:
    assert documented(CONFIGURATION, "Beam job: options") == flags_added_in("beam_jobs/options.py")


def test_addresses() -> None:
    known = set(sandbox_settings.Settings().client_environment)
    assert documented(CONFIGURATION, "Addresses of Google's services") == known


def test_dbt_profile() -> None:
    used = set(re.findall(r"env_var\('([A-Z_]+)'", source("dbt/profiles.yml")))
    assert documented(CONFIGURATION, "dbt: variables of the profile") == used


def test_dbt_variables() -> None:
    block = re.search(r"^vars:\n((?:[ #].*\n)+)", source("dbt/dbt_project.yml"), re.MULTILINE)
    assert block is not None
    declared = set(re.findall(r"^  (\w+):", block[1], re.MULTILINE))
    assert documented(CONFIGURATION, "dbt: variables of the project") == declared


def test_sandbox_commands() -> None:
    assert documented(CONFIGURATION, "Sandbox: commands") == set(commands())


def test_sandbox_settings() -> None:
    assert documented(CONFIGURATION, "Sandbox: settings") == set(sandbox_settings.NAMES)


def test_sandbox_settings_flags() -> None:
    flags = {
        action.dest: action.option_strings[0]
        for action in commands()["demo"]._actions
        if action.dest.startswith("SANDBOX_")
    }
    shown = {
        cells[0].strip("`"): cells[1].strip("`")
        for cells in markdown.rows(CONFIGURATION, "Sandbox: settings")
        if cells[1]
    }
    assert shown == flags


def test_sandbox_settings_defaults() -> None:
    shown = {
        cells[0].strip("`"): cells[2].strip("`")
        for cells in markdown.rows(CONFIGURATION, "Sandbox: settings")
    }
    document = sandbox_settings.Settings().document
    for name in sandbox_settings.NAMES:
        attribute = name.removeprefix("SANDBOX_").lower()
        if attribute in ("home", "emulators", "ports"):
            continue  # relative to the project; the choice of ports is no field
        default = document.get(attribute, document["ports"].get(attribute.removesuffix("_port")))
        text = ",".join(default) if isinstance(default, tuple) else str(default)
        assert shown[name] == (text or "nothing"), name


def test_sandbox_other_flags() -> None:
    used = {
        (flag, command)
        for command, parser in commands().items()
        for action in parser._actions
        if not action.dest.startswith("SANDBOX_") and action.dest != "help"
        for flag in action.option_strings
    }
    shown = {
        (flag, command)
        for cells in markdown.rows(CONFIGURATION, "Sandbox: other flags")
        for flag in re.findall(r"`([^`]+)`", cells[0])
        for command in re.findall(r"`([^`]+)`", cells[1])
    }
    assert shown == used


def test_exchange_flags() -> None:
    used = flags_added_in("sandbox/exchange/settings.py")
    assert documented(CONFIGURATION, "Simulated exchange: flags") == used


def test_embedded_pubsub_flags() -> None:
    used = flags_added_in("sandbox/pubsub/__main__.py")
    assert documented(CONFIGURATION, "Embedded Pub/Sub: flags") == used


def test_example_of_the_environment() -> None:
    shown = re.findall(r"^#?(SANDBOX_[A-Z_]+)=", source(".env.example"), re.MULTILINE)
    assert set(shown) == set(sandbox_settings.NAMES)


# --- architecture.md, errors.md


def test_questions_of_the_gallery() -> None:
    asked = {path.stem for path in (ROOT / "dbt" / "analyses").glob("*.sql")}
    assert documented(DOCS / "analytics.md", "Questions and their SQL") == asked


def test_tests_that_analytics_explains() -> None:
    tests = "".join(
        path.read_text("utf-8") + path.name
        for folder in ("models", "tests")
        for path in (ROOT / "dbt" / folder).rglob("*.*")
        if path.suffix in (".yml", ".sql")
    )
    for name in documented(DOCS / "analytics.md", "Reading a failure"):
        assert name.strip("…") in tests, name


def test_tables_and_models() -> None:
    generated = {table.full_name for table in TABLES}
    models = {
        f"{path.parent.name}.{path.stem}" for path in (ROOT / "dbt" / "models").rglob("*.sql")
    }
    assert documented(ARCHITECTURE, "Tables") == generated | models


def test_reasons() -> None:
    assert documented(ERRORS, "Reasons") == set(Reason)


def test_ignored_decisions() -> None:
    archived = {channel.name for channel in CHANNELS.values() if not channel.is_loaded} - {CONTROL}
    shapes = set(re.findall(r'CONTROL, "(\w+)"\)', source("market_data/messages.py")))
    named = set(re.findall(r'Ignored\("(\w+)"\)', source("market_data/decode.py")))
    assert shapes
    assert named
    assert documented(ERRORS, "Ignored") == archived | shapes | named


def test_exit_codes_of_the_collector() -> None:
    docstring = ast.get_docstring(ast.parse(source("collector/__main__.py"))) or ""
    said = set(re.findall(r"(\d) \w+", docstring.partition("Exit codes:")[2]))
    shown = {row[1] for row in markdown.rows(ERRORS, "Exit codes") if row[0] == "collector"}
    assert shown == said


# --- README.md, CONTRIBUTING.md, CHANGELOG.md, decisions


def test_make_targets() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", source("Makefile"), re.MULTILINE))
    assert documented(ROOT / "CONTRIBUTING.md", "The one door") == targets


def test_make_targets_that_documents_use() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", source("Makefile"), re.MULTILINE))
    for document in DOCUMENTS:
        used = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", document.read_text("utf-8"), re.M))
        assert used <= targets, document.name


def test_readme_names_the_two_commands_and_the_replay() -> None:
    text = README.read_text("utf-8")
    for command in ("\nmake demo\n", "\nmake test\n", "python -m sandbox replay FILE… --exit"):
        assert command in text


def test_readme_names_the_folders() -> None:
    shown = {target for cells in markdown.rows(README, "Where things are") for target in cells[:1]}
    folders = {re.sub(r"^\[(\w+)/\]\(.*\)$", r"\1", cell) for cell in shown}
    packages = {
        path.parent.name for path in ROOT.glob("*/__init__.py") if not path.parent.is_symlink()
    }
    assert packages <= folders
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_changelog_has_the_version() -> None:
    version = tomllib.loads(source("pyproject.toml"))["project"]["version"]
    assert re.search(rf"^## {re.escape(version)} - ", source("CHANGELOG.md"), re.MULTILINE)


def test_every_decision_is_in_the_index() -> None:
    files = {path.name for path in DECISIONS.glob("[0-9]*.md")}
    assert {link for link in markdown.links(DECISIONS / "README.md") if "/" not in link} == files


def test_decisions_are_numbered_once_and_titled() -> None:
    paths = sorted(DECISIONS.glob("[0-9]*.md"))
    numbers = [path.name[:3] for path in paths]
    assert numbers == [f"{number:03}" for number in range(1, len(paths) + 1)]
    for path in paths:
        assert re.match(rf"# {path.name[:3]}:? \w", path.read_text("utf-8")), path.name


def test_every_document_is_in_the_index() -> None:
    indexed = {(DOCS / link).resolve() for link in markdown.links(DOCS / "README.md")}
    assert {path for path in DOCS.glob("*.md") if path.name != "README.md"} <= indexed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(document: Path) -> None:
    for link in markdown.links(document):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{document.name}: {link}"
        if anchor:
            assert anchor in markdown.anchors(path), f"{document.name}: {link}"


def test_licence_is_apache_2() -> None:
    text = source("LICENSE")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "Copyright 2026 Crypto-Solutions" in text
