"""Scan: positions and values of a whole body of lines at once, as numpy and Arrow columns.

A Python object a value costs more than everything else that happens to a trade. Here the body is
one array of bytes; a position is an index into it, and a column is an array of positions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Positions = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

MAX_DIGITS: Final = 18
_WORD: Final = 8
# The first n bytes of a word.
_MASKS: Final = np.array([(1 << (8 * count)) - 1 for count in range(_WORD + 1)], np.uint64)
# For reading eight digits at once: "00000000", what carries a byte beyond nine into its high bit,
# and the low half of each pair of numbers of so many bits.
_ZEROS: Final = np.uint64(0x3030303030303030)
_OVER_NINE: Final = np.uint64(0x7676767676767676)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_LOW_HALVES: Final = {
    8: np.uint64(0x00FF00FF00FF00FF),
    16: np.uint64(0x0000FFFF0000FFFF),
    32: np.uint64(0x00000000FFFFFFFF),
}
# Room behind the end, so that a look behind the last line stays inside.
_ROOM: Final = 64


class Unusual(Exception):
    """The bytes are not what a scan is made for; someone has to look line by line."""


class Scan:
    """The bytes of a body, ready to be looked at in columns.

    Args:
        body: lines, each ended by a newline.
    """

    def __init__(self, body: bytes | bytearray) -> None:
        self.size = len(body)
        self.bytes = np.frombuffer(body + bytes(_ROOM), np.uint8)
        # The word that begins at each byte.
        self._words = np.ndarray((len(self.bytes) - _WORD + 1,), "<u8", self.bytes, 0, (1,))

    def colons(self, line_start: bytes) -> Positions:
        """Return the positions of the colons as (lines, colons of a line).

        Args:
            line_start: what each line begins with, up to and including its first colon.

        Raises:
            Unusual: lines have different numbers of colons or begin otherwise.
        """
        lines = int(np.count_nonzero(self.bytes == ord("\n")))
        colons = np.flatnonzero(self.bytes == ord(":"))
        if not lines or not len(colons) or len(colons) % lines:
            raise Unusual
        table = colons.reshape(lines, -1)
        starts = table[:, 0] + 1 - len(line_start)
        self.expect(starts, line_start)
        # As many newlines as rows, and one before each row but the first: a row is a line.
        if starts[0] != 0 or (self.bytes[starts[1:] - 1] != ord("\n")).any():
            raise Unusual
        return table

    def matches(self, positions: Positions, text: bytes) -> npt.NDArray[np.bool_]:
        """Tell for each position whether `text` stands there."""
        if positions.min() < 0 or positions.max() > self.size:
            raise Unusual
        found = np.ones(len(positions), np.bool_)
        for offset in range(0, len(text), _WORD):
            part = text[offset : offset + _WORD]
            wanted = np.uint64(int.from_bytes(part, "little"))
            found &= (self._words[positions + offset] & _MASKS[len(part)]) == wanted
        return found

    def expect(self, positions: Positions, text: bytes) -> None:
        """Check that `text` stands at every position.

        Raises:
            Unusual: it does not.
        """
        if not self.matches(positions, text).all():
            raise Unusual

    def integers(self, starts: Positions, ends: Positions) -> npt.NDArray[np.int64]:
        """Return the non-negative integers between starts and ends.

        Raises:
            Unusual: one is none, has more than 18 digits or a leading zero.
        """
        lengths = ends - starts
        if lengths.min() < 1 or lengths.max() > MAX_DIGITS:
            raise Unusual
        if ((self.bytes[starts] == ord("0")) & (lengths > 1)).any():
            raise Unusual
        values = np.zeros(len(starts), np.uint64)
        for place in range(0, int(lengths.max()), _WORD):  # eight digits at a time, the last first
            shown = (lengths - place).clip(0, _WORD)
            values += self._eight_digits(ends - place, shown) * np.uint64(10**place)
        return values.view(np.int64)

    def _eight_digits(
        self, ends: Positions, counts: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint64]:
        """Return the values of the `counts` digits (0 to 8) before `ends`.

        A word is read as eight digits, those in front of the wanted ones taken as zeros; then
        neighbours are added in pairs: 8 digits, 4 numbers of two, 2 of four, 1 of eight.

        Raises:
            Unusual: one of the bytes is no digit.
        """
        places = ends - _WORD
        if places.min() < 0:
            raise Unusual
        digits = (self._words[places] ^ _ZEROS) & ~_MASKS[_WORD - counts]
        # A digit is 0 to 9: adding 118 leaves its high bit clear.
        if ((digits | (digits + _OVER_NINE)) & _HIGH_BITS).any():
            raise Unusual
        for width in (8, 16, 32):
            # The order is that of memory: the earlier number of a pair is in its low half.
            earlier = digits & _LOW_HALVES[width]
            later = (digits >> np.uint64(width)) & _LOW_HALVES[width]
            digits = earlier * np.uint64(10 ** (width // 8)) + later
        return digits

    def flags(self, starts: Positions, ends: Positions) -> npt.NDArray[np.bool_]:
        """Return the JSON booleans between starts and ends.

        Raises:
            Unusual: one is neither true nor false.
        """
        is_true: npt.NDArray[np.bool_] = self.matches(starts, b"true") & (
            ends - starts == len(b"true")
        )
        is_false = self.matches(starts, b"false") & (ends - starts == len(b"false"))
        if not (is_true | is_false).all():
            raise Unusual
        return is_true

    def names(self, starts: Positions, ends: Positions) -> Words:
        """Return the bytes between starts and ends as rows of words, filled up with zeros.

        Raises:
            Unusual: one is empty or longer than 56 bytes.
        """
        lengths = ends - starts
        if lengths.min() < 1 or lengths.max() > _ROOM - _WORD:
            raise Unusual
        columns = [
            self._words[starts + offset] & _MASKS[(lengths - offset).clip(0, _WORD)]
            for offset in range(0, int(lengths.max()), _WORD)
        ]
        return np.stack(columns, axis=1)

    def texts(
        self, starts: Positions, ends: Positions
    ) -> tuple[pa.StringArray, npt.NDArray[np.uint8]]:
        """Return the bytes between starts and ends as an Arrow array, and its bytes in a row.

        The array's UTF-8 is not checked.

        Raises:
            Unusual: an end lies before its start.
        """
        lengths = ends - starts
        if lengths.min() < 0:
            raise Unusual
        offsets = np.zeros(len(starts) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        gathered = self.bytes[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)]
        buffers = (pa.py_buffer(offsets), pa.py_buffer(gathered))
        return pa.StringArray.from_buffers(len(starts), *buffers), gathered
