"""What every DAG keeps to, as functions that name what does not."""

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from plugins.market_ops.defaults import OWNER, TAGS

SECTIONS = ("What", "Inputs and outputs", "When it fails", "Owner")
# What may run when a DAG file is imported: decorators, DAGs, assets, parameters, plain values.
HARMLESS = {"dag", "task", "Asset", "Param", "timedelta", "frozenset", "tuple", "join"}


def violations(name: str, dag: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a DAG.

    Args:
        name: its id.
        dag: what `bag.facts` says of it.
    """
    if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name):
        yield "name: expected verb_noun in lower case"
    headings = re.findall(r"^### (.+)$", dag["doc"], re.MULTILINE)
    if headings != [*SECTIONS]:
        found = ", ".join(headings) or "none"
        yield f"doc: expected the sections {', '.join(SECTIONS)}, was {found}"
    parts = re.split(r"^### .+\n", dag["doc"], flags=re.MULTILINE)
    if any(not part.strip() for part in parts):
        yield "doc: a section is empty, or the first line is missing"
    if unknown := set(dag["tags"]) - TAGS:
        yield f"tags: {', '.join(sorted(unknown))} not in {', '.join(sorted(TAGS))}"
    if len({"scheduled", "manual"} & set(dag["tags"])) != 1:
        yield "tags: expected exactly one of scheduled, manual"
    if ("scheduled" in dag["tags"]) != (dag["schedule"] is not None):
        yield f"tags: scheduled or manual does not fit the schedule {dag['schedule']}"
    if dag["catchup"]:
        yield "catchup: expected False"
    if dag["max_active_runs"] != 1:
        yield f"max_active_runs: expected 1, was {dag['max_active_runs']}"
    if not dag["dagrun_timeout"]:
        yield "dagrun_timeout: is missing"
    for task, each in dag["tasks"].items():
        if each["owner"] != OWNER:
            yield f"{task}: expected owner {OWNER}, was {each['owner']}"
        if not 0 <= each["retries"] <= 5:
            yield f"{task}: expected 0 to 5 retries, was {each['retries']}"
        if not each["execution_timeout"]:
            yield f"{task}: execution_timeout is missing"
    if not dag["tasks"]:
        yield "tasks: there are none"


def source_violations(source: str, stem: str) -> Iterator[str]:
    """Yield what is wrong with a DAG file, judged from its text alone.

    Args:
        source: the file's text.
        stem: its name without `.py`.
    """
    tree = ast.parse(source)
    decorated = [
        (node, call)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        for call in node.decorator_list
        if isinstance(call, ast.Call) and _name(call.func) == "dag"
    ]
    if [node.name for node, _ in decorated] != [stem]:
        yield f"expected one DAG, named {stem} as the file"
    for _, call in decorated:
        given = {keyword.arg for keyword in call.keywords}
        needed = {"schedule", "start_date", "catchup", "max_active_runs", "dagrun_timeout"}
        for missing in sorted((needed | {"default_args", "tags", "doc_md"}) - given):
            yield f"@dag: {missing} is not given"
    for node in ast.walk(tree):
        for module in _imported(node):
            top = module.split(".")[0]
            if top in ("market_data", "collector", "beam_jobs", "sandbox", "plugins", "tests"):
                yield f"line {node.lineno}: imports {module}; DAGs import market_ops only"  # type: ignore[attr-defined]
    for call in _calls_at_import(tree):
        if _name(call.func) not in HARMLESS | {stem}:
            yield f"line {call.lineno}: {ast.unparse(call.func)} is called when the file is parsed"


def trigger_violations(source: str) -> Iterator[str]:
    """Yield the triggers that a module of the plugins defines.

    Composer 3's triggerer has no folder `plugins` (docs/decisions/014-airflow.md).
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(base).endswith("Trigger") for base in node.bases
        ):
            yield f"line {node.lineno}: {node.name} is a trigger; use a provider's"


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def _calls_at_import(node: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls outside of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _calls_at_import(child)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
