"""Storage: the little that compaction needs of a bucket, in Cloud Storage or in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final, Protocol

TIMEOUT_SECONDS: Final = 60.0


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
