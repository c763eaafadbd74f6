"""Terraform's files as Python sees them: blocks by type, labels without quotes."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
MODULES = sorted(path for path in (INFRA / "modules").iterdir() if path.is_dir())
ENVIRONMENTS = sorted(path for path in (INFRA / "environments").iterdir() if path.is_dir())
FOLDERS = [*MODULES, *ENVIRONMENTS]


@dataclass(frozen=True)
class Block:
    """One block at the top of a file: `resource "google_x" "y" { … }`."""

    kind: str
    labels: tuple[str, ...]
    body: dict[str, Any]
    where: str

    @property
    def name(self) -> str:
        return ".".join(self.labels)


def text_of(folder: Path) -> str:
    """All files of a folder, without comments."""
    texts = [path.read_text("utf-8") for path in sorted(folder.glob("*.tf"))]
    return re.sub(r"(?m)^\s*#.*$", "", "\n".join(texts))


@functools.cache
def blocks(folder: Path) -> tuple[Block, ...]:
    """Parse all files of a folder."""
    found: list[Block] = []
    for path in sorted(folder.glob("*.tf")):
        found += parse(path.read_text("utf-8"), f"{folder.name}/{path.name}")
    return tuple(found)


def parse(text: str, where: str = "snippet") -> list[Block]:
    """Parse one file's text; `where` names it in messages."""
    document = _clean(hcl2.loads(text))
    depths = {"resource": 2, "data": 2, "variable": 1, "output": 1, "module": 1, "provider": 1}
    return [
        Block(kind, labels, body, where)
        for kind, entries in document.items()
        for entry in entries
        for labels, body in _labelled(entry, depths.get(kind, 0))
    ]


def of_kind(folder: Path, kind: str) -> dict[str, Block]:
    """Return a folder's blocks of a kind, by name."""
    return {block.name: block for block in blocks(folder) if block.kind == kind}


def strings(value: Any) -> Iterator[str]:
    """Every text anywhere in a value, keys too."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def _labelled(entry: Any, depth: int) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if depth == 0:
        yield (), entry
        return
    for label, inner in entry.items():
        for labels, body in _labelled(inner, depth - 1):
            yield (label, *labels), body


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {_bare(key): _clean(each) for key, each in value.items() if key[:2] != "__"}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return _bare(value) if isinstance(value, str) else value


def _bare(text: str) -> str:
    """Texts come with their quotes, expressions in `${…}`."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
