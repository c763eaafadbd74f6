"""Exchange info: an answer of /api/v3/exchangeInfo becomes lines, those that are news; no I/O.

An entry keeps its own bytes. Every line says how many symbols the answer had in all (`listed`): a
snapshot of so many lines names every symbol there is, and only such a one can show that a symbol
is gone.

Seam for following listings: what `SymbolNews.lines` finds changed is what to subscribe or to drop.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec


class _Answer(msgspec.Struct):
    symbols: list[msgspec.Raw] = []


class _Entry(msgspec.Struct):
    symbol: str


_ANSWER = msgspec.json.Decoder(_Answer)
_ENTRY = msgspec.json.Decoder(_Entry)


def split_entries(answer: bytes) -> list[bytes]:
    """Return the bytes of each symbol's entry, as they stand in the answer.

    Raises:
        ValueError: the answer is no JSON object, or its `symbols` are no list.
    """
    return [bytes(entry) for entry in _ANSWER.decode(answer).symbols]


class SymbolNews:
    """Remembers what was told of each symbol, and tells what is new."""

    def __init__(self) -> None:
        self._told: dict[str | bytes, bytes] = {}

    def lines(self, entries: Sequence[bytes], received_at: int) -> list[bytes]:
        """Return the lines of the entries that changed; of all entries when a symbol has gone.

        Args:
            entries: all entries of an answer.
            received_at: when the answer was received, µs since 1970.
        """
        found = {_name(entry): entry for entry in entries}
        if self._told.keys() <= found.keys():
            news = [entry for name, entry in found.items() if self._told.get(name) != entry]
        else:
            news = list(found.values())
        self._told = found
        return [_line(entry, received_at, len(found)) for entry in news]


def _name(entry: bytes) -> str | bytes:
    """Return the entry's symbol; an entry without one is its own name, and rejected downstream."""
    try:
        return _ENTRY.decode(entry).symbol
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return entry


def _line(entry: bytes, received_at: int, listed: int) -> bytes:
    """Return the line of an entry, spliced where it is a JSON object in one line."""
    start = b'{"received_at":%d,"listed":%d,' % (received_at, listed)
    if b"\n" not in entry and entry.startswith(b"{"):
        return b'%b"data":%b}' % (start, entry)
    return b'%b"base64":"%b"}' % (start, base64.b64encode(entry))
