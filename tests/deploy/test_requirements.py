"""Composer's packages: what is added is pinned as tested, and fits what the image carries."""

import ast
import functools
import importlib.metadata as metadata
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.files import source_files
from deploy.steps import REQUIREMENTS
from sandbox.settings import ROOT
from tests.docs import markdown

COMPOSER = ROOT / "docs" / "composer.md"
# Packages of the image, as far as the part of its list goes that could be read; with them comes
# whatever they need.
CARRIED = ("apache-airflow", "apache-airflow-providers-google", "apache-beam")
OURS = frozenset({"market_ops", "market_data"})


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)$", path.read_text("utf-8"), re.MULTILINE))


ADDED = pins(ROOT / REQUIREMENTS)
LOCKED = pins(ROOT / "requirements" / "dags.txt")


def known() -> dict[str, tuple[str, str]]:
    """Return the image's and our version by package, as the document shows them."""
    rows = markdown.rows(COMPOSER, "What the image carries")
    return {cells[0].strip("`"): (cells[1], cells[2]) for cells in rows}


@functools.cache
def requirements(name: str) -> tuple[Requirement, ...]:
    try:
        return tuple(map(Requirement, metadata.requires(name) or ()))
    except metadata.PackageNotFoundError:  # of another platform
        return ()


def needed(names: Iterable[str]) -> Iterator[Requirement]:
    """Yield what the installed packages of these names need, and what that needs, and so on."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [Requirement(name) for name in names]
    while todo:
        one = todo.pop()
        yield one
        if (key := (canonicalize_name(one.name), frozenset(one.extras))) not in seen:
            seen.add(key)
            todo += [
                each
                for each in requirements(key[0])
                if each.marker is None
                or any(each.marker.evaluate({"extra": extra}) for extra in (*one.extras, ""))
            ]


def test_each_line_is_a_pin() -> None:
    lines = (ROOT / REQUIREMENTS).read_text("utf-8").splitlines()
    assert lines == [f"{name}=={version}" for name, version in sorted(ADDED.items())]


def test_pins_are_those_that_are_tested() -> None:
    assert {name: LOCKED[name] for name in ADDED} == ADDED


def test_nothing_is_added_that_the_image_carries() -> None:
    carried = {canonicalize_name(each.name) for each in needed(CARRIED)}
    assert set(ADDED).isdisjoint(carried | known().keys())


def test_whatever_is_imported_is_carried_or_added() -> None:
    found = {canonicalize_name(each.name) for each in needed((*CARRIED, *ADDED))}
    providers = metadata.packages_distributions()
    for name, path in source_files(ROOT):
        if path.suffix == ".py":
            for module in imported(path) - sys.stdlib_module_names - OURS:
                distributions = {canonicalize_name(each) for each in providers[module]}
                assert distributions & found, f"{name} imports {module}"


def imported(path: Path) -> set[str]:
    """Return the first parts of the names that a file imports, wherever it does."""
    names = [
        name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    ]
    return {name.split(".")[0] for name in names}


def test_the_document_shows_our_versions() -> None:
    for name, (_, ours) in known().items():
        assert ours == LOCKED.get(name, "not needed"), name


def test_what_is_added_fits_what_the_image_carries() -> None:
    image = {name: version.split("+")[0] for name, (version, _) in known().items()}
    for each in needed(ADDED):
        version = image.get(canonicalize_name(each.name))
        assert version is None or each.specifier.contains(version), str(each)
