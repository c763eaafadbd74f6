import sqlite3
from pathlib import Path

import pytest

from sandbox.pubsub.errors import UnavailableError
from sandbox.pubsub.journal import Journal, JournalError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "journal.db"


def reopened(journal: Journal) -> Journal:
    journal.close()
    return Journal(journal.path)


def fill_the_disk(journal: Journal) -> None:
    [pages] = journal._database.execute("pragma page_count").fetchone()
    journal._database.execute(f"pragma max_page_count={pages}")


def test_records_are_read_in_their_order(path: Path) -> None:
    journal = Journal(path)
    for number in range(250):
        journal.append(b"%d" % number)
    journal = reopened(journal)
    assert [*journal.read()] == [b"%d" % number for number in range(250)]
    assert journal.size == sum(len(content) for content in journal.read())


def test_other_records_take_the_place_of_all(path: Path) -> None:
    journal = Journal(path)
    journal.append(b"old")
    journal.replace([b"new", b"er"])
    journal.append(b"newest")
    assert journal.size == 11
    assert [*reopened(journal).read()] == [b"new", b"er", b"newest"]


def test_replacing_that_fails_changes_nothing(path: Path) -> None:
    def failing():
        yield b"new"
        raise RuntimeError

    journal = Journal(path)
    journal.append(b"old")
    with pytest.raises(RuntimeError):
        journal.replace(failing())
    assert (journal.size, [*reopened(journal).read()]) == (3, [b"old"])


def test_a_full_disk_refuses_the_record_and_keeps_the_others(path: Path) -> None:
    journal = Journal(path)
    journal.append(b"first")
    fill_the_disk(journal)
    with pytest.raises(UnavailableError, match=r"journal\.db cannot be written: .* full"):
        journal.append(b"x" * 100_000)
    with pytest.raises(UnavailableError):
        journal.replace([b"x" * 100_000])
    journal.append(b"small")
    assert (journal.size, [*reopened(journal).read()]) == (10, [b"first", b"small"])


def test_a_second_one_is_refused(path: Path) -> None:
    with_it = Journal(path)
    with pytest.raises(JournalError, match="another process uses it: give each a file of its own"):
        Journal(path)
    with_it.close()


@pytest.mark.parametrize("content", [b"no database at all", b"\0" * 100_000])
def test_what_is_no_journal_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"--journal .*journal\.db: .*remove it to begin empty"):
        Journal(path)
    assert path.read_bytes() == content


def test_another_ones_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("create table records (a text)")
    with pytest.raises(JournalError, match="no such column: content"):
        Journal(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match=r"file/journal\.db: .*name a file that this user"):
        Journal(tmp_path / "file" / "journal.db")
