from hypothesis import given
from hypothesis import strategies as st

from sandbox.exchange.ledger import IdSet, Ledger


@given(st.lists(st.integers(min_value=0, max_value=60)))
def test_an_id_set_knows_what_is_new(ids: list[int]) -> None:
    known: set[int] = set()
    ranges = IdSet()
    for item_id in ids:
        assert ranges.add(item_id) == (item_id not in known)
        known.add(item_id)


def test_totals_cover_the_market_from_the_first_to_the_last_sent() -> None:
    ledger = Ledger()
    ledger.happened("BTCUSDT", 10, 2, 100, 1000, 0)  # before anyone subscribed
    ledger.happened("BTCUSDT", 12, 2, 5 * 10**8, 7, 1)
    ledger.happened("BTCUSDT", 14, 1, 10**8, 1, 0)  # nobody was connected
    ledger.happened("BTCUSDT", 15, 1, 10**8, 1, 2)
    ledger.happened("BTCUSDT", 16, 9, 10**8, 1, 0)  # after the last one
    assert ledger.report() == [
        {
            "market": "spot",
            "symbol": "BTCUSDT",
            "count": 4,
            "sum_ids": 12 + 13 + 14 + 15,
            "sum_quantity": "7.00000000",
            "sum_quote_quantity": "0.00000009",
            "first_id": 12,
            "last_id": 15,
            "sent": 4,
        }
    ]


def test_a_repeated_item_is_sent_but_not_counted() -> None:
    ledger = Ledger()
    for item_id in (5, 0, 5):
        ledger.served("ETHUSDT", item_id, 10**8, 3)
    [row] = ledger.report()
    assert (row["count"], row["sum_ids"], row["sent"]) == (2, 5, 3)
    assert (row["first_id"], row["last_id"]) == (0, 5)
