"""A repaired frame is what a collector's is: everybody's decoder takes it."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from market_data.batches import decode_batch
from market_data.decode import Origin
from market_data.frames import TARGET_MESSAGE_BYTES, decode_frame
from plugins.market_ops.repair.frames import (
    TRADES_A_FRAME,
    UnusableTrades,
    line,
    payload,
    seal,
)
from plugins.market_ops.repair.holes import SourceTrade

AT = 1_770_000_000_000_000
ORIGIN = Origin("spot", "rest", "repair", "repair/7/1", datetime(2026, 1, 1, tzinfo=UTC))


def trade(number: int, price: str = "2.50000000", time: int = AT // 1000) -> SourceTrade:
    return SourceTrade(number, price, "0.20000000", time, True, False)


def sealed(trades: list[SourceTrade], sequence: int = 1, symbol: str = "BTCUSDT"):  # type: ignore[no-untyped-def]
    return [*seal(symbol, trades, source="rest", epoch=7, sequence=sequence, received_at=AT)]


def test_a_frame_holds_the_trades() -> None:
    (message,) = sealed([trade(1), trade(3)])
    frame = decode_frame(message.data)
    header = frame.header
    assert message.frame_id == header.frame_id == "repair/7/1"
    assert message.attributes == {
        "frame_id": "repair/7/1",
        "market": "spot",
        "channel": "trade",
        "collector": "repair",
    }
    assert (header.source, header.lines, header.opened_at) == ("rest", 2, AT)
    totals = header.symbols["BTCUSDT"]
    assert (totals.first_id, totals.last_id, totals.count, totals.sum_ids) == (1, 3, 2, 4)
    assert (totals.sum_quantity, totals.sum_quote_quantity) == (Decimal("0.4"), Decimal("1"))
    batch = decode_batch(frame.body, "trade", ORIGIN)
    assert batch.rejected == []
    assert batch.rows is not None
    first = batch.rows.to_pylist()[0]
    assert first["quote_quantity"] == Decimal("0.5")
    assert first["traded_at"] == first["event_at"] == datetime(2026, 2, 2, 2, 40, tzinfo=UTC)
    assert (first["is_buyer_maker"], first["source"]) == (True, "rest")


def test_numbers_go_on_over_frames_of_one_run() -> None:
    messages = sealed([trade(n) for n in range(TRADES_A_FRAME + 1)], sequence=4)
    assert [each.frame_id for each in messages] == ["repair/7/4", "repair/7/5"]
    assert [each.trades for each in messages] == [TRADES_A_FRAME, 1]
    assert max(len(each.data) for each in messages) < TARGET_MESSAGE_BYTES


def test_the_same_trades_make_the_same_frames() -> None:
    assert sealed([trade(1)]) == sealed([trade(1)])


def test_symbols_in_any_script() -> None:
    (message,) = sealed([trade(1)], symbol="币安人生USDT")
    assert list(decode_frame(message.data).header.symbols) == ["币安人生USDT"]


@pytest.mark.parametrize("bad", [trade(2, "0"), trade(2, "x"), trade(2, time=5)])
def test_what_would_be_rejected_is_not_published(bad: SourceTrade) -> None:
    with pytest.raises(UnusableTrades, match="BTCUSDT 2 from rest"):
        sealed([trade(1), bad])


def test_the_payload_is_the_documented_one() -> None:
    assert list(payload("BTCUSDT", trade(1))) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]


def test_a_recorded_answer_becomes_the_websockets_line(recorded: Path) -> None:
    found = msgspec.json.decode(
        (recorded / "rest" / "get_historical_trades_from_id_ok.json").read_bytes()
    )
    (row,) = msgspec.json.decode(found[0]["response"]["body"])
    given = SourceTrade(
        row["id"], row["price"], row["qty"], row["time"], row["isBuyerMaker"], row["isBestMatch"]
    )
    batch = decode_batch(line("XRPUSDT", given, AT) + b"\n", "trade", ORIGIN)
    assert batch.rows is not None
    (decoded,) = batch.rows.to_pylist()
    assert decoded["trade_id"] == 28457
    assert decoded["quote_quantity"] == Decimal(row["quoteQty"])
