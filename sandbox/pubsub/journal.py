"""A file of records that outlives the process: appended one by one, read back, replaced at once.

Used by `durable`. SQLite in a file of its own: a record that was appended is there after kill -9,
one that was being appended is there whole or not at all, and a second process is refused. Records
are synced to the disk now and then only: the last ones may be lost when the machine itself fails.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sandbox.pubsub.errors import UnavailableError

_LOCK_SECONDS: Final = 1.0
_SPARE_BYTES: Final = 64 * 1024 * 1024
_READ_ROWS: Final = 100
_REMEDIES: Final = {
    sqlite3.SQLITE_BUSY: "another process uses it: give each a file of its own",
    sqlite3.SQLITE_CORRUPT: "remove it to begin empty",
    sqlite3.SQLITE_NOTADB: "remove it to begin empty, or name another file",
    sqlite3.SQLITE_ERROR: "name a file that is a journal, or a new one",
}


class JournalError(Exception):
    """The file cannot be used: no such folder, no journal, damaged, or another process has it."""


class Journal:
    """The records of one file, in the order in which they were appended.

    Args:
        path: the file; made with its folder when missing.

    Raises:
        JournalError: it cannot be opened.

    Attributes:
        path: the file.
        size: bytes of all records.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opening():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, _LOCK_SECONDS, isolation_level=None)
        try:
            with self._opening():
                self.size = self._prepare()
        except JournalError:
            self.close()
            raise

    def _prepare(self) -> int:
        for pragma in (
            "page_size=16384",
            "locking_mode=exclusive",
            "journal_mode=wal",
            "synchronous=normal",
            f"journal_size_limit={_SPARE_BYTES}",
        ):
            self._database.execute(f"pragma {pragma}")
        self._database.execute(
            "create table if not exists records"
            " (position integer primary key, content blob not null)"
        )
        [size] = self._database.execute(
            "select coalesce(sum(length(content)), 0) from records"
        ).fetchone()
        return int(size)

    def read(self) -> Iterator[bytes]:
        """Return every record.

        Raises:
            JournalError: the file is damaged.
        """
        with self._opening():
            rows = self._database.execute("select content from records order by position")
            while batch := rows.fetchmany(_READ_ROWS):
                for (content,) in batch:
                    yield content

    def append(self, content: bytes) -> None:
        """Add a record; it is there after a kill when this returns.

        Raises:
            UnavailableError: it cannot be written, and is not there.
        """
        with self._writing():
            self._database.execute("insert into records (content) values (?)", (content,))
        self.size += len(content)

    def replace(self, contents: Iterable[bytes]) -> None:
        """Put other records in the place of all; a kill leaves the old ones or the new ones.

        Raises:
            UnavailableError: they cannot be written, and the old ones are there.
        """
        size = 0

        def counted() -> Iterator[tuple[bytes]]:
            nonlocal size
            for content in contents:
                size += len(content)
                yield (content,)

        with self._writing(), self._database:
            self._database.execute("begin immediate")
            self._database.execute("delete from records")
            self._database.executemany("insert into records (content) values (?)", counted())
        self.size = size

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN)
            remedy = _REMEDIES.get(
                code & 0xFF,  # the rest of an extended code says more of the same
                "name a file that this user may write, on a disk that has room",
            )
            raise JournalError(f"--journal {self.path}: {error}; {remedy}") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UnavailableError(
                f"the journal {self.path} cannot be written: {error}; make room on its disk"
            ) from error
