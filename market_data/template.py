"""Templates: a canonical line of a layout as alternating literals and slots.

Binance writes the messages of a stream always alike: the same keys in the same order, no spaces.
A body whose every byte is either a literal of the template or a valid value in a slot is valid,
and its columns lie at known places.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from market_data.layouts import Field, Kind, Layout
from market_data.scan import Positions, Scan, Unusual

RECEIVED_AT = "received_at"
STREAM = "stream"
SYMBOL = "symbol"
_QUOTED = frozenset((Kind.TEXT, Kind.POSITIVE, Kind.DECIMAL))


@dataclass(frozen=True, slots=True)
class Slot:
    """A value's place in a line: the literal before it, and its column."""

    literal: bytes
    column: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Template:
    """A line's slots in order, and the literal that ends it."""

    slots: tuple[Slot, ...]
    tail: bytes

    def locate(self, scan: Scan) -> dict[str, tuple[Positions, Positions]]:
        """Return start and end positions of each column's values.

        Raises:
            Unusual: a line is not of this form.
        """
        colons = scan.colons(self.slots[0].literal)
        if colons.shape[1] != sum(slot.literal.count(b":") for slot in self.slots):
            raise Unusual
        starts, literals, seen = [], [], 0
        for slot in self.slots:
            seen += slot.literal.count(b":")
            start = colons[:, seen - 1] + 1 + slot.literal.endswith(b'"')
            starts.append(start)
            literals.append(start - len(slot.literal))
        for slot, literal in zip(self.slots[1:], literals[1:], strict=True):
            scan.expect(literal, slot.literal)
        line_ends = literals[0].copy()
        line_ends[:-1] = literals[0][1:]
        line_ends[-1] = scan.size
        tails = line_ends - len(self.tail)
        scan.expect(tails, self.tail)
        ends = [*literals[1:], tails]
        return {
            slot.column: (start, end)
            for slot, start, end in zip(self.slots, starts, ends, strict=True)
        }


@functools.cache
def template_of(layout: Layout) -> Template | None:
    """Return the template of a layout's lines, None for layouts without one order of keys."""
    if not layout.order:
        return None
    fields = {field.key: field for field in layout.fields}
    slots = [Slot(b'{"received_at":', RECEIVED_AT, Kind.TIME)]
    slots.append(Slot(b',"stream":"', STREAM, Kind.TEXT))
    literal = '","data":{'
    for number, key in enumerate(layout.order):
        literal += f'{"," if number else ""}"{key}":'
        if key == "e":
            literal += f'"{layout.event}"'
            continue
        field = fields.get(key) or _unread(key)
        if field.kind in _QUOTED:
            literal += '"'
        slots.append(Slot(literal.encode(), field.column, field.kind))
        literal = '"' if field.kind in _QUOTED else ""
    return Template(tuple(slots), f"{literal}}}}}\n".encode())


def _unread(key: str) -> Field:
    """Return the field of a key that no column needs: the symbol, and M, which means nothing."""
    return Field(SYMBOL, key, Kind.TEXT) if key == "s" else Field(f"unread {key}", key, Kind.FLAG)
