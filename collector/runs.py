"""Runs: first id, last id, count and sum of each stream in a frame, without an object a message.

Works on messages of one shape: every one has the same number of colons, and the wanted key stands
before the same one. Binance's messages of a stream are like that, whatever fields they have. For
anything else the answer is None, and the caller looks line by line.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from collector.splicing import LINE_START, TIME_DIGITS
from market_data.frames import HeaderTotals
from market_data.scan import Positions, Scan, Unusual, Words

# What a combined stream's message begins with; its name follows.
ENVELOPE: Final = b'{"stream":"'
_BEHIND_STREAM: Final = b'","data":'
# Columns of the table of colons.
_TIME, _DATA = 0, 2
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)


def scan_runs(body: bytearray, key: str) -> dict[str, HeaderTotals] | None:
    """Return the runs of ids by stream name, None when the lines are not of one shape.

    Args:
        body: messages `{"stream":"…","data":{…}}` as `collector.splicing.join_messages` joins them.
        key: the payload's one-letter key whose integers are the ids; another one follows it.
    """
    try:
        scan = Scan(body)
        colons = scan.colons(LINE_START)
        if colons.shape[1] <= _DATA:
            return None
        ids = _ids(scan, colons, f'"{key}":'.encode())
        names_end = colons[:, _DATA] + 1 - len(_BEHIND_STREAM)
        scan.expect(names_end, _BEHIND_STREAM)
        messages = colons[:, _TIME] + 1 + TIME_DIGITS
        scan.expect(messages, ENVELOPE)
        names = scan.names(messages + len(ENVELOPE), names_end)
    except Unusual:
        return None
    return _group(names, ids) if int(ids.max()) * len(ids) < 2**63 else None


def _ids(scan: Scan, colons: Positions, key: bytes) -> Positions:
    """Return the integers behind `key`, which is followed by a comma and a one-letter key."""
    for column in range(_DATA + 1, colons.shape[1] - 1):
        place = colons[:, column] + 1 - len(key)
        if scan.matches(place[:1], key)[0]:
            scan.expect(place, key)
            ends = colons[:, column + 1] - len(',"x"')
            scan.expect(ends, b",")
            return scan.integers(colons[:, column] + 1, ends)
    raise Unusual


def _group(names: Words, ids: npt.NDArray[np.int64]) -> dict[str, HeaderTotals] | None:
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
    # A text of numpy ends before its last zeros, which only fill up.
    texts = np.ascontiguousarray(names[starts]).view(f"S{names.itemsize * names.shape[1]}").ravel()
    streams = [text.decode("utf-8", "replace") for text in texts.tolist()]
    return dict(zip(streams, map(HeaderTotals, *columns), strict=True))
