"""What is deployed to a Composer environment's bucket, by the name of the object.

Composer gives every component `dags/` and `plugins/` as folders, and both are on Python's path:

    dags/*.py            the DAGs
    dags/dbt/**          the dbt project; DBT_PROJECT_DIR names it
    plugins/**           market_ops, the plugin of the page
    plugins/market_data  what flows, for repaired frames (docs/decisions/016-repair.md)
    data/market_ops/     Variables and connections, for `gcloud … variables import`
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from deploy.outputs import Outputs

DATA: Final = "data/market_ops"
VARIABLES: Final = f"{DATA}/variables.json"
CONNECTIONS: Final = f"{DATA}/connections.json"

# Folder of the repository, and the objects' folder.
_FOLDERS: Final = (
    ("dags", "dags"),
    ("plugins", "plugins"),
    ("market_data", "plugins/market_data"),
    ("dbt", "dags/dbt"),
)
# Composer installs requirements by its API, not from the bucket.
_LEFT_OUT: Final = frozenset({"dags/requirements.txt"})
_LEFT_OUT_FOLDERS: Final = frozenset({"__pycache__", "target", "logs", "dbt_packages"})
_HIDDEN: Final = frozenset({".airflowignore"})


def contents(root: Path, outputs: Outputs) -> dict[str, bytes]:
    """Return everything that an environment's bucket should hold of ours.

    Args:
        root: the repository.
        outputs: the environment.

    Returns:
        Content by object name.
    """
    found = {name: path.read_bytes() for name, path in source_files(root)}
    found[VARIABLES] = _json({"market_ops": outputs.market_ops})
    if outputs.connections:
        found[CONNECTIONS] = _json(outputs.connections)
    return found


def source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield object name and path of each file of the repository that is deployed."""
    for folder, target in _FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root / folder)
            name = str(PurePosixPath(target, *inside.parts))
            if path.is_file() and name not in _LEFT_OUT and _is_deployed(inside):
                yield name, path


def is_dag(name: str) -> bool:
    """Say whether Airflow reads DAGs from an object; a change of it has an effect at once."""
    path = PurePosixPath(name)
    return path.parent == PurePosixPath("dags") and path.suffix == ".py"


def _is_deployed(inside: Path) -> bool:
    is_hidden = any(part.startswith(".") and part not in _HIDDEN for part in inside.parts)
    is_made = not _LEFT_OUT_FOLDERS.isdisjoint(inside.parts[:-1])
    return not is_hidden and not is_made and inside.suffix not in (".pyc", ".pyo")


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"
