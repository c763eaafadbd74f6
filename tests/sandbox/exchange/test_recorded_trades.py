import json
from pathlib import Path

import pytest

from sandbox.exchange.ledger import Ledger
from sandbox.exchange.recorded_trades import RecordedTrade, trade_of
from sandbox.exchange.recording import read_frames

TRADE = {"e": "trade", "s": "BTCUSDT", "t": 7, "p": "0.05175000", "q": "0.00030001", "T": 1}


def message(**changes: object) -> bytes:
    payload = {**TRADE, **changes}
    return json.dumps({"stream": "btcusdt@trade", "data": payload}).encode()


def test_a_trade_is_read_exactly() -> None:
    expected = RecordedTrade("trade", "BTCUSDT", 7, 30_001, 1552)
    assert trade_of(message()) == expected
    assert trade_of(json.dumps(TRADE).encode()) == expected


def test_an_aggregate_trade_counts_by_its_own_id() -> None:
    found = trade_of(message(e="aggTrade", a=9))
    assert found
    assert (found.event, found.item_id) == ("aggTrade", 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"e": "aggTrade", "a": 9, "p": "0", "q": "0"},  # invalidated by Binance
        {"p": "-1"}, {"q": "0.00000000"}, {"p": 1.5}, {"p": "NaN"}, {"p": "1" * 40}, {"t": "7"},
        {"t": True}, {"t": -1}, {"s": 5}, {"e": "trades"}, {"e": ["trade"]}, {"q": "0.000000001"},
    ],
)  # fmt: skip
def test_what_cannot_be_booked_does_not_count(changes: dict[str, object]) -> None:
    assert trade_of(message(**changes)) is None


@pytest.mark.parametrize(
    "junk", [b"trade", b'"trade"', b'["trade"]', b'{"stream":"x@trade"}', b"\xfftrade"]
)
def test_junk_is_no_trade(junk: bytes) -> None:
    assert trade_of(junk) is None


@pytest.mark.parametrize(
    ("name", "symbol", "count", "first_id", "last_id"),
    [
        ("btcusdt_20240808", "BTCUSDT", 9757, 3735683259, 3735693015),
        ("ethusdt_20240808", "ETHUSDT", 6106, 1520538925, 1520545030),
        ("ethusdt_20240809", "ETHUSDT", 8409, 1520545031, 1520553439),
    ],
)
def test_the_real_recordings(
    recorded: Path, name: str, symbol: str, count: int, first_id: int, last_id: int
) -> None:
    ledger = Ledger()
    for frame in read_frames([recorded / "ws" / f"{name}.spot.gz"]):
        trade = trade_of(frame.message)
        if trade:
            ledger.served(trade.symbol, trade.item_id, trade.quantity, trade.quote_quantity)
    [row] = ledger.report()
    assert (row["symbol"], row["count"], row["sent"]) == (symbol, count, count)
    assert (row["first_id"], row["last_id"]) == (first_id, last_id)
    assert row["sum_ids"] == (first_id + last_id) * count // 2
