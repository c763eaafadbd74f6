"""Plans a deployment: what is wanted and what is there, to actions in a safe order. Pure.

A bucket has no transactions. So what DAGs need comes before the DAGs, and what they needed goes
after them; and a deployment that ends half-way leaves a manifest with all names that it was about
to write, so that the next one knows them for ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.files import is_dag

_VERSION: Final = 1


class ForeignFiles(ValueError):
    """Objects that no deployment has written stand where ours belong; names them."""


class ManifestError(ValueError):
    """The manifest is not one of ours."""


@dataclass(frozen=True)
class Manifest:
    """What deployments have put into a bucket.

    Attributes:
        files: SHA-256 (hex) by name, as of the last deployment that was finished.
        pending: names that a deployment began to write or to delete and did not finish.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """All names that are ours."""
        return self.pending | self.files.keys()

    def encode(self) -> bytes:
        """Return the manifest as JSON."""
        document = {
            "version": _VERSION,
            "files": dict(sorted(self.files.items())),
            "pending": sorted(self.pending),
        }
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            ManifestError: it is no manifest of this version.
        """
        try:
            document: Any = json.loads(data)
            if document["version"] != _VERSION:
                raise ManifestError(f"expected version {_VERSION}, was {document['version']!r}")
            return cls(dict(document["files"]), frozenset(document["pending"]))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ManifestError):
                raise
            raise ManifestError(f"is not a manifest: {error!r}") from error


@dataclass(frozen=True)
class Plan:
    """Actions, in this order.

    Attributes:
        uploads: names to write: first what DAGs need, then DAGs.
        new: those of them that are not there yet.
        deletes: names to delete: first DAGs, then what they needed.
        unchanged: number of files that are there as they should be.
    """

    uploads: tuple[str, ...]
    new: frozenset[str]
    deletes: tuple[str, ...]
    unchanged: int

    def __bool__(self) -> bool:
        return bool(self.uploads or self.deletes)

    def lines(self) -> list[str]:
        """Return a line for each action: + new, ~ changed, - deleted."""
        marks = [(f"{'+' if name in self.new else '~'} {name}") for name in self.uploads]
        return marks + [f"- {name}" for name in self.deletes]


def plan(wanted: Mapping[str, str], found: Mapping[str, str | None], former: Manifest) -> Plan:
    """Compare what is wanted with what is there.

    Args:
        wanted: SHA-256 by name.
        found: of every object in the folders: SHA-256 that a deployment noted at it, None where
            none did, because somebody else wrote it.
        former: the manifest in the bucket.

    Raises:
        ForeignFiles: an object of that name is there and was never ours.
    """
    changed = {name for name, digest in wanted.items() if found.get(name) != digest}
    foreign = sorted(name for name in changed if name in found and name not in former.names)
    if foreign:
        raise ForeignFiles(", ".join(foreign))
    gone = {name for name in former.names if name not in wanted and name in found}
    return Plan(
        uploads=tuple(sorted(changed, key=lambda name: (is_dag(name), name))),
        new=frozenset(changed - found.keys()),
        deletes=tuple(sorted(gone, key=lambda name: (not is_dag(name), name))),
        unchanged=len(wanted) - len(changed),
    )


def begun(former: Manifest, actions: Plan) -> Manifest:
    """Return the manifest of a deployment that begins: everything that it will touch is ours."""
    touched: Iterable[str] = (*actions.uploads, *actions.deletes)
    return Manifest(former.files, former.pending.union(touched))
