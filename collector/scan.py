"""Scan: the ids of a whole frame at once, without a Python object per message.

Works on lines of one shape: every line has the same number of colons, and the wanted key stands
before the same one. Binance's messages of a stream are like that, whatever fields they have. For
anything else the answer is None, and the caller looks line by line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

# What a line begins with; the time and the message's own `"stream":"…","data":…` follow.
PREFIX: Final = b'{"received_at":'
_BEHIND_STREAM: Final = b'","data":'
# Columns of the table of colons: behind "received_at", "stream" and "data".
_TIME, _STREAM, _DATA = 0, 1, 2
_MAX_STREAM_BYTES: Final = 64
_MAX_DIGITS: Final = 18
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
# The first n bytes of a word of eight.
_MASKS: Final = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)

_Bytes = npt.NDArray[np.uint8]
_Words = npt.NDArray[np.uint64]
_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """The ids of one stream in a frame."""

    first_id: int
    last_id: int
    count: int
    sum_ids: int


def scan_runs(body: bytes, key: str) -> dict[str, Run] | None:
    """Return the runs of ids by stream name, None when the lines are not of one shape.

    Args:
        body: lines `{"received_at":…,"stream":"…","data":{…}}`, each ended by a newline.
        key: the payload's one-letter key whose integers are the ids.
    """
    # Room behind the end, so that a look behind the last line stays inside.
    data = np.frombuffer(body + bytes(_MAX_STREAM_BYTES), np.uint8)
    colons = _colons(data)
    if colons is None:
        return None
    column = _column_of(data, colons[0], key)
    if column is None or not _stands_before(data, colons[:, column], f'"{key}":'.encode()):
        return None
    ids = _integers(data, colons[:, column] + 1, colons[:, column + 1] - len(',"x"'))
    names = _names(data, colons[:, _STREAM] + 2, colons[:, _DATA] + 1 - len(_BEHIND_STREAM))
    if ids is None or names is None or int(ids.max()) * len(ids) >= 2**63:
        return None
    if not _stands_before(data, colons[:, _DATA], _BEHIND_STREAM):
        return None
    return _group(names, ids)


def _colons(data: _Bytes) -> _Integers | None:
    """Return the positions of the colons as (lines, keys)."""
    lines = int(np.count_nonzero(data == ord("\n")))
    colons = np.flatnonzero(data == ord(":"))
    if not lines or not len(colons) or len(colons) % lines:
        return None
    table = colons.reshape(lines, -1)
    starts = table[:, _TIME] + 1 - len(PREFIX)
    # As many newlines as rows, and one before each row but the first: a row is a line.
    if table.shape[1] <= _DATA or starts[0] != 0 or (data[starts[1:] - 1] != ord("\n")).any():
        return None
    return table


def _column_of(data: _Bytes, colons: _Integers, key: str) -> int | None:
    """Return which colon of the first line stands behind the key; the last one never does."""
    for column in range(_DATA + 1, len(colons) - 1):
        if _stands_before(data, colons[column : column + 1], f'"{key}":'.encode()):
            return column
    return None


def _stands_before(data: _Bytes, colons: _Integers, text: bytes) -> bool:
    """Tell whether `text`, which ends with a colon, ends at each of these colons."""
    first = colons + 1 - len(text)
    return all((data[first + offset] == byte).all() for offset, byte in enumerate(text))


def _integers(data: _Bytes, starts: _Integers, ends: _Integers) -> _Integers | None:
    """Return the integers between starts and ends, None when one is none or no comma follows."""
    lengths = ends - starts
    if lengths.min() < 1 or lengths.max() > _MAX_DIGITS or (data[ends] != ord(",")).any():
        return None
    values = np.zeros(len(starts), np.int64)
    for place in range(int(lengths.max())):
        digits = data[starts + place] - np.uint8(ord("0"))
        is_inside = place < lengths
        if (digits[is_inside] > 9).any():
            return None
        values = np.where(is_inside, values * 10 + digits, values)
    return values


def _names(data: _Bytes, starts: _Integers, ends: _Integers) -> _Words | None:
    """Return the bytes between starts and ends as rows of words, filled up with zeros."""
    lengths = ends - starts
    if lengths.min() < 1 or lengths.max() > _MAX_STREAM_BYTES - 8:
        return None
    # The word that begins at each byte.
    words = np.ndarray((len(data) - 7,), "<u8", data, 0, (1,))
    columns = [
        words[starts + offset] & _MASKS[(lengths - offset).clip(0, 8)]
        for offset in range(0, int(lengths.max()), 8)
    ]
    return np.stack(columns, axis=1)


def _group(names: _Words, ids: _Integers) -> dict[str, Run] | None:
    """Return the run of each name; None in the unheard-of case that two names hash alike."""
    hashes = np.zeros(len(names), np.uint64)
    for column in range(names.shape[1]):
        hashes = (hashes ^ names[:, column]) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    order = hashes.argsort()
    hashes, ids, names = hashes[order], ids[order], names[order]
    starts = np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1])))
    counts = np.diff(np.concatenate((starts, [len(hashes)])))
    if (names != np.repeat(names[starts], counts, axis=0)).any():
        return None
    columns: list[Any] = [
        np.minimum.reduceat(ids, starts).tolist(),
        np.maximum.reduceat(ids, starts).tolist(),
        counts.tolist(),
        np.add.reduceat(ids, starts).tolist(),
    ]
    return {
        name.tobytes().rstrip(b"\0").decode("utf-8", "replace"): Run(*values)
        for name, values in zip(names[starts], zip(*columns, strict=True), strict=True)
    }
