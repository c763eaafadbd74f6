"""Spill: sorted rows on local disk, so that memory is bounded by a setting and not by an hour."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from .rows import ROW, Digits, Rows, by_hour, by_symbol, copy_rows, joined, sorted_by_id

_ID_OFFSET: Final = ROW.fields["trade_id"][1]  # type: ignore[index] # it has fields


_NO_DIGITS: Final = Digits()


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one symbol, sorted by id, in a file.

    Attributes:
        path: the file.
        start: number of its first row in the file.
        stop: number behind its last row.
    """

    path: Path
    start: int
    stop: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.stop - self.start

    def read(self) -> Rows:
        """Return the rows."""
        return np.fromfile(self.path, ROW, len(self), offset=self.start * ROW.itemsize)

    def id_at(self, number: int) -> int:
        """Return the trade id of a row, counted from the piece's first."""
        with self.path.open("rb") as file:
            place = (self.start + number) * ROW.itemsize + _ID_OFFSET
            return int.from_bytes(os.pread(file.fileno(), 8, place), "little")

    def split(self, last_id: int) -> tuple[Piece, Piece]:
        """Return the rows up to an id, and those behind it."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.id_at(middle) <= last_id:
                low = middle + 1
            else:
                high = middle
        cut = self.start + low
        return Piece(self.path, self.start, cut), Piece(self.path, cut, self.stop)


@dataclass(slots=True)
class SpilledSymbol:
    """What is known of a symbol's rows in one hour.

    Attributes:
        pieces: where they are.
        digits: how many its prices and quantities need.
    """

    pieces: list[Piece]
    digits: Digits = _NO_DIGITS

    @property
    def count(self) -> int:
        """Number of rows, duplicates included."""
        return sum(len(piece) for piece in self.pieces)


class Spill:
    """Rows by hour of trading and symbol, in files of a folder.

    Args:
        folder: where the files are; it exists.
        max_rows: rows that are kept in memory at most before they are written.
    """

    def __init__(self, folder: Path, max_rows: int) -> None:
        self._folder = folder
        self._rows = np.empty(max_rows, ROW)
        self._waiting = 0
        self._lengths: dict[int, int] = defaultdict(int)
        self.hours: dict[int, dict[int, SpilledSymbol]] = defaultdict(dict)

    def add(self, rows: Rows) -> None:
        """Add rows in any order."""
        while len(rows):
            fitting = rows[: len(self._rows) - self._waiting]
            end = self._waiting + len(fitting)
            copy_rows(self._rows[self._waiting : end], fitting)
            rows, self._waiting = rows[len(fitting) :], end
            if end == len(self._rows):
                self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        rows, self._waiting = self._rows[: self._waiting], 0
        for hour, of_hour in by_hour(rows):
            path = self._folder / f"{hour}.rows"
            with path.open("ab") as file:
                for code, of_symbol in by_symbol(of_hour):
                    of_symbol = sorted_by_id(of_symbol)
                    of_symbol.tofile(file)
                    self._note(hour, code, path, of_symbol)

    def _note(self, hour: int, code: int, path: Path, rows: Rows) -> None:
        start = self._lengths[hour]
        self._lengths[hour] = start + len(rows)
        symbol = self.hours[hour].setdefault(code, SpilledSymbol([]))
        symbol.pieces.append(Piece(path, start, start + len(rows)))
        symbol.digits |= Digits.of(rows)


def merged(pieces: list[Piece], max_rows: int) -> Iterator[Rows]:
    """Yield a symbol's rows sorted by id, at most `max_rows` at a time, an id never in two."""
    pieces = [piece for piece in pieces if len(piece)]
    if not pieces:
        return
    first = min(piece.id_at(0) for piece in pieces)
    last = max(piece.id_at(len(piece) - 1) for piece in pieces)
    if sum(len(piece) for piece in pieces) <= max_rows or first == last:
        yield sorted_by_id(joined([piece.read() for piece in pieces]))
        return
    halves = [piece.split((first + last) // 2) for piece in pieces]
    for half in zip(*halves, strict=True):
        yield from merged(list(half), max_rows)
