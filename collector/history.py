"""History: what REST knows of missing ids, as requests and answers. Pure.

An id is absent at the source when two witnesses agree: REST has ids on both sides and not it, and
the aggregate trades around leave out its trades. Aggregate ids are consecutive, so nothing stood
between two that follow each other; an aggregate names the trades that it stands for, and trade ids
are consecutive too.

Source: binance-protocol, sections 2 (payloads), 4 (REST) and 6 (futures).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import msgspec

from collector.runs import Range

PAGE: Final = 1_000


class Trade(msgspec.Struct, rename="camel"):
    """A row of historicalTrades; numbers stay the texts that they are."""

    id: int
    price: str
    qty: str
    time: int
    is_buyer_maker: bool
    is_best_match: bool

    @property
    def item_id(self) -> int:
        """The trade id."""
        return self.id

    def payload(self, symbol: str) -> dict[str, Any]:
        """Return the payload that the stream would have sent.

        REST has no event time, when a message was sent: it is the trade's time, the earliest that
        it can have been.
        """
        return {
            "e": "trade",
            "E": self.time,
            "s": symbol,
            "t": self.id,
            "p": self.price,
            "q": self.qty,
            "T": self.time,
            "m": self.is_buyer_maker,
            "M": self.is_best_match,
        }


class Aggregate(msgspec.Struct):
    """A row of aggTrades."""

    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 # Binance's name
    T: int
    m: bool
    M: bool = True

    @property
    def item_id(self) -> int:
        """The aggregate trade id."""
        return self.a

    @property
    def time(self) -> int:
        """Trade time, in the unit of the answer."""
        return self.T

    @property
    def is_invalid(self) -> bool:
        """Whether Binance has marked it as a duplicate (data repairs of 2022-04-12)."""
        return self.f < 0

    def payload(self, symbol: str) -> dict[str, Any]:
        """Return the payload that the stream would have sent; its event time is the trade's."""
        return {"e": "aggTrade", "E": self.T, "s": symbol} | {
            name: getattr(self, name) for name in ("a", "p", "q", "f", "l", "T", "m", "M")
        }


Item = Trade | Aggregate


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the items of a channel are: path, weight of a request, and how an answer is read."""

    path: str
    weight: int
    decoder: msgspec.json.Decoder[Any]

    def parse(self, body: bytes, lowest: int = 0) -> list[Item]:
        """Return an answer's rows.

        Raises:
            ValueError: it is something else, its ids do not rise, or one is below `lowest`.
        """
        rows: list[Item] = self.decoder.decode(body)
        if rows and rows[0].item_id < lowest:
            raise ValueError(f"an id is below {lowest}")
        if any(one.item_id >= other.item_id for one, other in pairwise(rows)):
            raise ValueError("the ids do not rise")
        return rows


AGGREGATES: Final = Endpoint("/api/v3/aggTrades", 4, msgspec.json.Decoder(list[Aggregate]))
ENDPOINTS: Final[dict[str, Endpoint]] = {
    "trade": Endpoint("/api/v3/historicalTrades", 25, msgspec.json.Decoder(list[Trade])),
    "aggTrade": AGGREGATES,
}
"""Where the items of a channel are asked for from an id on."""


def page_from(symbol: str, item_id: int, limit: int = PAGE) -> dict[str, str]:
    """Return the parameters that ask for items from an id on."""
    return {"symbol": symbol, "fromId": str(item_id), "limit": str(limit)}


def aggregates_between(symbol: str, before: Item, behind: Item) -> dict[str, str]:
    """Return the parameters that ask for the aggregates from one item's time to another's."""
    times = {"startTime": str(before.time), "endTime": str(behind.time)}
    return {"symbol": symbol, "limit": str(PAGE)} | times


def lines_of(channel: str, symbol: str, items: Iterable[Item], received_at: int) -> Iterator[bytes]:
    """Yield items as lines of a frame, without their newlines.

    Args:
        channel: their channel.
        symbol: symbol as Binance spells it.
        items: the items.
        received_at: when REST gave them, µs since 1970.
    """
    stream = f"{symbol.lower()}@{channel}"
    for item in items:
        envelope = {"received_at": received_at, "stream": stream, "data": item.payload(symbol)}
        yield msgspec.json.encode(envelope)


def gaps_in(page: Sequence[Item], missing: Iterable[Range]) -> list[Range]:
    """Return the missing ranges that lie between two rows of a page that follow each other."""
    return [
        (max(one.item_id + 1, first), min(other.item_id - 1, last))
        for one, other in pairwise(page)
        if other.item_id > one.item_id + 1
        for first, last in missing
        if first < other.item_id and last > one.item_id
    ]


def neighbours(page: Sequence[Item], gap: Range) -> tuple[Item, Item]:
    """Return the rows of a page before and behind a gap of `gaps_in`."""
    before = max((row for row in page if row.item_id < gap[0]), key=lambda row: row.item_id)
    behind = min((row for row in page if row.item_id > gap[1]), key=lambda row: row.item_id)
    return before, behind


def trades_left_out(gap: Range, aggregates: Iterable[Item]) -> str | None:
    """Return how aggregates prove that trades were never made; None when they do not."""
    for one, other in _valid_pairs(aggregates):
        if one.a + 1 == other.a and one.l < gap[0] and gap[1] < other.f:
            return f"aggregate {one.a} ends with trade {one.l}, {other.a} begins with {other.f}"
    return None


def aggregates_left_out(gap: Range, page: Iterable[Item]) -> str | None:
    """Return how aggregates prove that others between them never were; None when they do not."""
    for one, other in _valid_pairs(page):
        if one.a < gap[0] and gap[1] < other.a and one.l + 1 == other.f:
            return f"aggregate {one.a} ends with trade {one.l}, {other.a} begins with the next one"
    return None


def _valid_pairs(items: Iterable[Item]) -> Iterator[tuple[Aggregate, Aggregate]]:
    return pairwise(item for item in items if isinstance(item, Aggregate) and not item.is_invalid)
