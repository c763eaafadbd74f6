"""The spool: frames wait on disk until Pub/Sub has acknowledged them.

One SQLite file in WAL mode with `synchronous=FULL`: a committed frame survives kill -9 and power
loss. The ledger (control totals per channel and symbol) and the open holes are committed together
with the frames, so after a crash they say exactly what had been made durable: each transaction
journals the totals of its frames, and every now and then the journal is folded into one row a
symbol.

Not thread-safe: the outbox's thread owns it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from collector.continuity import Hole
from collector.ledger import Ledger, Position
from collector.sealing import SealedFrame
from market_data.frames import FrameHeader

_LOCK_SECONDS: Final = 2.0  # a restart may overlap with the end of the one before
_SCHEMA: Final = """
create table if not exists frames (
    position integer primary key autoincrement,
    frame_id text not null unique,
    market text not null,
    channel text not null,
    collector text not null,
    lines integer not null,
    data blob not null
);
create table if not exists ledger (
    market text not null,
    channel text not null,
    symbol text not null,
    first_id integer not null,
    last_id integer not null,
    count integer not null,
    sum_ids text not null,
    sum_quantity text,
    sum_quote_quantity text,
    primary key (market, channel, symbol)
) without rowid;
create table if not exists holes (
    channel text not null,
    symbol text not null,
    holes blob not null,
    primary key (channel, symbol)
) without rowid;
create table if not exists journal (
    position integer primary key,
    headers blob not null
);
"""
# Transactions between two foldings: rewriting 200 rows costs more than writing a frame.
_FOLD_AFTER: Final = 64
_ENCODER: Final = msgspec.json.Encoder()
_HEADERS: Final = msgspec.json.Decoder(list[FrameHeader])
_HOLES: Final = msgspec.json.Decoder(list[Hole])


class SpoolError(RuntimeError):
    """The spool can't be opened or written."""


@dataclass(frozen=True, slots=True)
class SpooledFrame:
    """A frame in the spool, ready to be published."""

    position: int
    frame_id: str
    market: str
    channel: str
    collector: str
    lines: int
    data: bytes


class Spool:
    """The file of waiting frames and the ledger.

    Args:
        folder: where `spool.db` lies; made when missing.

    Raises:
        SpoolError: the folder can't be made, is another collector's, or the file is no spool.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                folder / "spool.db", _LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            # Two collectors would publish and account for each other's frames. The lock is held
            # until we close or die.
            self._database.execute("pragma locking_mode=exclusive")
            self._database.execute("pragma page_size=16384")  # a frame is 100 kB
            self._database.execute("pragma journal_mode=wal")
            self._database.execute("pragma synchronous=full")
            self._database.executescript(_SCHEMA)
            self._journalled = 0
            self.ledger = self._read_ledger()
            row = self._database.execute(
                "select count(*), coalesce(sum(length(data)), 0) from frames"
            ).fetchone()
        except (OSError, sqlite3.Error) as error:
            is_locked = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            remedy = (
                "another collector uses it: give each a folder of its own"
                if is_locked
                else "name a folder that this user may write"
            )
            raise SpoolError(
                f"COLLECTOR_SPOOL_DIR: can't open a spool in {folder}: {error}; {remedy}"
            ) from error
        self.frames: int = row[0]
        self.bytes: int = row[1]

    def commit(self, arrived: Sequence[SealedFrame], acknowledged: Iterable[SpooledFrame]) -> None:
        """Add and remove frames in one durable transaction.

        Raises:
            SpoolError: the transaction failed, for example because the disk is full; nothing of
                it happened.
        """
        headers = [frame.header for frame in arrived]
        gone = list(acknowledged)
        is_folding = self._journalled >= _FOLD_AFTER
        try:
            with self._database:
                self._database.execute("begin immediate")
                if is_folding:
                    self._fold()
                if headers:
                    self._database.execute(
                        "insert into journal (headers) values (?)", (_ENCODER.encode(headers),)
                    )
                self._database.executemany(
                    "insert into frames (frame_id, market, channel, collector, lines, data)"
                    " values (?, ?, ?, ?, ?, ?)",
                    [
                        (h.frame_id, h.market, h.channel, h.collector, h.lines, frame.data)
                        for frame in arrived
                        for h in (frame.header,)
                    ],
                )
                self._keep_holes(arrived)
                self._database.executemany(
                    "delete from frames where position = ?", [(frame.position,) for frame in gone]
                )
        except sqlite3.Error as error:
            raise SpoolError(f"can't write to the spool: {error}; free disk space") from error
        if is_folding:
            self._journalled = 0
            self.ledger.settle()
        self._journalled += bool(headers)
        self.ledger.add(headers)
        self.frames += len(arrived) - len(gone)
        self.bytes += sum(len(frame.data) for frame in arrived)
        self.bytes -= sum(len(frame.data) for frame in gone)

    def read_after(self, position: int, limit: int) -> list[SpooledFrame]:
        """Return up to `limit` frames behind `position`, oldest first."""
        rows = self._database.execute(
            "select position, frame_id, market, channel, collector, lines, data from frames"
            " where position > ? order by position limit ?",
            (position, limit),
        )
        return [SpooledFrame(*row) for row in rows]

    def holes(self) -> list[Hole]:
        """Return the open holes, as the durable frames have left them."""
        rows = self._database.execute("select holes from holes")
        return [hole for (blob,) in rows for hole in _HOLES.decode(blob)]

    def close(self) -> None:
        """Close the file; frames that are still in it wait for the next start."""
        self._database.close()

    def _keep_holes(self, arrived: Sequence[SealedFrame]) -> None:
        changed: dict[tuple[str, str], bytes] = {}
        for frame in arrived:
            changed |= frame.open_holes
        if not changed:
            return
        self._database.executemany("delete from holes where channel = ? and symbol = ?", changed)
        self._database.executemany(
            "insert into holes values (?, ?, ?)",
            [(*key, holes) for key, holes in changed.items() if holes != b"[]"],
        )

    def _fold(self) -> None:
        """Write the positions that the journal changed, and empty it."""
        self._database.executemany(
            "insert or replace into ledger values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_ledger_row(position) for position in self.ledger.changed()],
        )
        self._database.execute("delete from journal")

    def _read_ledger(self) -> Ledger:
        rows = self._database.execute("select * from ledger")
        ledger = Ledger(
            Position(
                market,
                channel,
                symbol,
                first,
                last,
                count,
                int(ids),
                _decimal(base),
                _decimal(quote),
            )
            for market, channel, symbol, first, last, count, ids, base, quote in rows
        )
        for (headers,) in self._database.execute("select headers from journal"):
            ledger.add(_HEADERS.decode(headers))
            self._journalled += 1
        return ledger


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _ledger_row(position: Position) -> tuple[object, ...]:
    return (
        position.market,
        position.channel,
        position.symbol,
        position.first_id,
        position.last_id,
        position.count,
        str(position.sum_ids),
        _text(position.sum_quantity),
        _text(position.sum_quote_quantity),
    )


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
