"""Runs: first id, last id, count and sum of each stream in a frame, without an object a message.

A stream whose ids are consecutive is told by these numbers alone; of any other its pieces are
listed, the ranges of ids that are there.

Works on messages of one shape: every one has the same number of colons, and the wanted key stands
before the same one. Binance's messages of a stream are like that, whatever fields they have. For
anything else the answer is None, and the caller looks line by line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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

Range = tuple[int, int]
Pieces = dict[str, tuple[Range, ...]]


@dataclass(slots=True)
class Runs:
    """The ids of some lines.

    Attributes:
        totals: first id, last id, count and sum by name.
        pieces: ranges of ids (inclusive, in order, apart from each other) of the names whose ids
            are not each one from first to last exactly once.
    """

    totals: dict[str, HeaderTotals] = field(default_factory=dict)
    pieces: Pieces = field(default_factory=dict)


def scan_runs(body: bytearray, key: str, *, with_pieces: bool = True) -> Runs | None:
    """Return the ids by stream name, None when the lines are not of one shape.

    Args:
        body: messages `{"stream":"…","data":{…}}` as `collector.splicing.join_messages` joins them.
        key: the payload's one-letter key whose integers are the ids; another one follows it.
        with_pieces: also list pieces; not for ids that are never consecutive.
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
    return _group(names, ids, with_pieces) if int(ids.max()) * len(ids) < 2**63 else None


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


def pieces_of(names: Sequence[str], groups: npt.NDArray[np.int64], ids: Positions) -> Pieces:
    """Return the pieces of the names whose ids are not one run.

    Args:
        names: the names.
        groups: index of each id's name; every name has an id.
        ids: the ids, in any order.
    """
    order = groups.argsort(kind="stable")
    groups, ids = groups[order], ids[order]
    starts = np.flatnonzero(np.concatenate(([True], groups[1:] != groups[:-1])))
    counts = np.diff(np.concatenate((starts, [len(ids)])))
    firsts, lasts = np.minimum.reduceat(ids, starts), np.maximum.reduceat(ids, starts)
    uneven = _uneven(ids, starts, counts, firsts, lasts)
    return _pieces([names[group] for group in groups[starts].tolist()], ids, starts, counts, uneven)


def _group(names: Words, ids: Positions, with_pieces: bool) -> Runs | None:
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
    firsts, lasts = np.minimum.reduceat(ids, starts), np.maximum.reduceat(ids, starts)
    columns: list[Any] = [
        firsts.tolist(),
        lasts.tolist(),
        counts.tolist(),
        np.add.reduceat(ids, starts).tolist(),
    ]
    # A text of numpy ends before its last zeros, which only fill up.
    texts = np.ascontiguousarray(names[starts]).view(f"S{names.itemsize * names.shape[1]}").ravel()
    streams = [text.decode("utf-8", "replace") for text in texts.tolist()]
    found = Runs(dict(zip(streams, map(HeaderTotals, *columns), strict=True)))
    if with_pieces:
        uneven = _uneven(ids, starts, counts, firsts, lasts)
        found.pieces = _pieces(streams, ids, starts, counts, uneven)
    return found


def _uneven(
    ids: Positions, starts: Positions, counts: Positions, firsts: Positions, lasts: Positions
) -> Positions:
    """Return the groups whose ids are not each one from first to last exactly once.

    Each id of a group marks its place between first and last; the group is a run when all places
    are marked. A group of another length than its ids span marks its first place only.
    """
    could_be = lasts - firsts + 1 == counts
    places = np.where(np.repeat(could_be, counts), ids - np.repeat(firsts, counts), 0)
    marked = np.zeros(len(ids), np.bool_)
    marked[places + np.repeat(starts, counts)] = True
    return np.flatnonzero(~np.logical_and.reduceat(marked, starts))


def _pieces(
    names: Sequence[str], ids: Positions, starts: Positions, counts: Positions, uneven: Positions
) -> Pieces:
    pieces: Pieces = {}
    for group in uneven.tolist():
        found = np.unique(ids[starts[group] : starts[group] + counts[group]])
        ends = np.flatnonzero(np.diff(found) != 1)
        firsts = found[np.concatenate(([0], ends + 1))].tolist()
        lasts = found[np.concatenate((ends, [len(found) - 1]))].tolist()
        pieces[names[group]] = tuple(zip(firsts, lasts, strict=True))
    return pieces
