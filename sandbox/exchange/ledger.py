"""Control totals of what the exchange sent: the witness of the sandbox's certificate.

A `Ledger` holds one `Account` per symbol for one kind of item (trades or aggregate trades).
Numbers are integers scaled by 10^8, ids are counted once however often they were sent.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from sandbox.exchange.fixed_point import format_fixed


@dataclass(slots=True)
class Totals:
    """Count, sum of ids, and exact sums of quantity and quote quantity."""

    count: int = 0
    sum_ids: int = 0
    quantity: int = 0
    quote_quantity: int = 0

    def add_run(self, first_id: int, count: int, quantity: int, quote_quantity: int) -> None:
        """Add `count` items with consecutive ids and the sums of their quantities."""
        self.count += count
        self.sum_ids += count * first_id + count * (count - 1) // 2
        self.quantity += quantity
        self.quote_quantity += quote_quantity

    def add(self, other: Totals) -> None:
        """Add other totals."""
        self.count += other.count
        self.sum_ids += other.sum_ids
        self.quantity += other.quantity
        self.quote_quantity += other.quote_quantity


class IdSet:
    """A set of ids kept as sorted, disjoint ranges: its size is the number of holes, not of ids."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []  # inclusive

    def add(self, item_id: int) -> bool:
        """Add an id; returns whether it is new."""
        starts, ends = self._starts, self._ends
        i = bisect_right(starts, item_id) - 1
        if i >= 0 and item_id <= ends[i]:
            return False
        joins_left = i >= 0 and ends[i] == item_id - 1
        joins_right = i + 1 < len(starts) and starts[i + 1] == item_id + 1
        if joins_left and joins_right:
            ends[i] = ends.pop(i + 1)
            del starts[i + 1]
        elif joins_left:
            ends[i] = item_id
        elif joins_right:
            starts[i + 1] = item_id
        else:
            starts.insert(i + 1, item_id)
            ends.insert(i + 1, item_id)
        return True


@dataclass(slots=True)
class Account:
    """One symbol's totals from the first item sent to the last one sent.

    `totals` covers all items of the market in that range, also those that happened while nobody
    was subscribed (`unsent` until a later one is sent); `sent` counts deliveries.
    """

    totals: Totals = field(default_factory=Totals)
    unsent: Totals = field(default_factory=Totals)
    seen: IdSet = field(default_factory=IdSet)
    first_id: int | None = None
    last_id: int | None = None
    sent: int = 0


class Ledger:
    """The accounts of all symbols for one kind of item."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def happened(
        self, symbol: str, first_id: int, count: int, quantity: int, quote: int, deliveries: int
    ) -> None:
        """Record items with consecutive ids that came to pass, sent to `deliveries` connections.

        The caller records a symbol's items in id order, each once.
        """
        account = self._accounts.get(symbol)
        if account is None:
            if not deliveries:
                return
            account = self._accounts[symbol] = Account(first_id=first_id)
        if not deliveries:
            account.unsent.add_run(first_id, count, quantity, quote)
            return
        if account.unsent.count:
            account.totals.add(account.unsent)
            account.unsent = Totals()
        account.totals.add_run(first_id, count, quantity, quote)
        account.last_id = first_id + count - 1
        account.sent += count * deliveries

    def served(self, symbol: str, item_id: int, quantity: int, quote: int) -> None:
        """Record one item of a recording as sent; a repeated id counts as sent only."""
        account = self._accounts.setdefault(symbol, Account())
        account.sent += 1
        if account.seen.add(item_id):
            account.totals.add_run(item_id, 1, quantity, quote)
            if account.first_id is None or item_id < account.first_id:
                account.first_id = item_id
            if account.last_id is None or item_id > account.last_id:
                account.last_id = item_id

    def report(self) -> list[dict[str, object]]:
        """Return one JSON object per symbol, sums as exact decimal strings."""
        return [
            {
                "market": "spot",
                "symbol": symbol,
                "count": account.totals.count,
                "sum_ids": account.totals.sum_ids,
                "sum_quantity": format_fixed(account.totals.quantity),
                "sum_quote_quantity": format_fixed(account.totals.quote_quantity),
                "first_id": account.first_id,
                "last_id": account.last_id,
                "sent": account.sent,
            }
            for symbol, account in sorted(self._accounts.items())
        ]
