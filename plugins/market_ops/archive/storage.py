"""Storage: the little that compaction needs of a bucket, in Cloud Storage or in a folder."""

from __future__ import annotations

import contextlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

TIMEOUT_SECONDS: Final = 60.0


class ReplacedMeanwhile(Exception):
    """Another run wrote the object since it was read; the message names it and the remedy."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name}: another compaction wrote it since this one read it; nothing was replaced and "
            "nothing is lost; run this compaction again when the other has ended"
        )


class Store(Protocol):
    """Objects by name; a write replaces an object whole or not at all."""

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, sorted."""

    def read(self, name: str) -> bytes:
        """Return an object's bytes.

        Raises:
            FileNotFoundError: there is no such object.
        """

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""

    def replace(self, name: str, old: bytes | None, data: bytes) -> None:
        """Write an object that is still `old`, or still missing.

        Raises:
            ReplacedMeanwhile: it is neither.
        """

    def delete(self, name: str) -> None:
        """Remove an object; one that is gone already is no error."""

    def updated_at(self, name: str) -> datetime | None:
        """Return when an object was written; None when there is none."""

    def download(self, name: str, path: Path) -> None:
        """Copy an object to a local file.

        Raises:
            FileNotFoundError: there is no such object.
        """

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file to an object."""


class BucketStore:
    """A bucket of Cloud Storage.

    Args:
        bucket: a `google.cloud.storage.Bucket`; GCSHook's or another client's.
    """

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, sorted."""
        blobs = self._bucket.list_blobs(prefix=prefix, timeout=TIMEOUT_SECONDS)
        return sorted(blob.name for blob in blobs)

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        from google.api_core.exceptions import NotFound

        try:
            data: bytes = self._bucket.blob(name).download_as_bytes(timeout=TIMEOUT_SECONDS)
        except NotFound:
            raise FileNotFoundError(name) from None
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        self._bucket.blob(name).upload_from_string(
            data, content_type="application/json", checksum="crc32c", timeout=TIMEOUT_SECONDS
        )

    def replace(self, name: str, old: bytes | None, data: bytes) -> None:
        """Write an object that is still `old`, or still missing."""
        from google.api_core.exceptions import PreconditionFailed

        found = self._bucket.get_blob(name, timeout=TIMEOUT_SECONDS)
        generation = found.generation if found else 0
        try:
            is_old = (
                (old is None)
                if found is None
                else found.download_as_bytes(
                    if_generation_match=generation, timeout=TIMEOUT_SECONDS
                )
                == old
            )
            if not is_old:
                raise ReplacedMeanwhile(name)
            self._bucket.blob(name).upload_from_string(
                data,
                content_type="application/json",
                checksum="crc32c",
                if_generation_match=generation,
                timeout=TIMEOUT_SECONDS,
            )
        except PreconditionFailed:
            raise ReplacedMeanwhile(name) from None

    def delete(self, name: str) -> None:
        """Remove an object; one that is gone already is no error."""
        from google.api_core.exceptions import NotFound

        with contextlib.suppress(NotFound):
            self._bucket.blob(name).delete(timeout=TIMEOUT_SECONDS)

    def updated_at(self, name: str) -> datetime | None:
        """Return when an object was written; None when there is none."""
        found = self._bucket.get_blob(name, timeout=TIMEOUT_SECONDS)
        updated: datetime | None = found.updated if found else None
        return updated

    def download(self, name: str, path: Path) -> None:
        """Copy an object to a local file."""
        from google.api_core.exceptions import NotFound

        try:
            self._bucket.blob(name).download_to_filename(str(path), timeout=TIMEOUT_SECONDS)
        except NotFound:
            raise FileNotFoundError(name) from None

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file to an object."""
        self._bucket.blob(name).upload_from_filename(
            str(path),
            content_type="application/vnd.apache.parquet",
            checksum="crc32c",
            timeout=TIMEOUT_SECONDS,
        )


class FolderStore:
    """A folder that stands for a bucket."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, sorted."""
        folder = (self._root / prefix).parent if not prefix.endswith("/") else self._root / prefix
        files = (path for path in folder.rglob("*") if path.is_file())
        names = (path.relative_to(self._root).as_posix() for path in files)
        return sorted(name for name in names if name.startswith(prefix))

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        return (self._root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        path = self._path_to_write(name)
        unfinished = path.with_name(path.name + "~")
        unfinished.write_bytes(data)
        unfinished.replace(path)

    def replace(self, name: str, old: bytes | None, data: bytes) -> None:
        """Write an object that is still `old`, or still missing."""
        path = self._root / name
        if (path.read_bytes() if path.exists() else None) != old:
            raise ReplacedMeanwhile(name)
        self.write(name, data)

    def delete(self, name: str) -> None:
        """Remove an object; one that is gone already is no error."""
        (self._root / name).unlink(missing_ok=True)

    def updated_at(self, name: str) -> datetime | None:
        """Return when an object was written; None when there is none."""
        path = self._root / name
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) if path.exists() else None

    def download(self, name: str, path: Path) -> None:
        """Copy an object to a local file."""
        shutil.copyfile(self._root / name, path)

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file to an object."""
        unfinished = self._path_to_write(name + "~")
        shutil.copyfile(path, unfinished)
        unfinished.replace(self._root / name)

    def _path_to_write(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
