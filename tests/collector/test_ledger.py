from decimal import Decimal

from collector.ledger import Ledger, Position
from market_data.frames import FrameHeader, HeaderTotals


def header(channel: str = "trade", **symbols: HeaderTotals) -> FrameHeader:
    return FrameHeader(
        frame_id="c1/1/1",
        market="spot",
        channel=channel,
        collector="c1",
        epoch=1,
        sequence=1,
        source="stream",
        lines=1,
        opened_at=1,
        closed_at=1,
        symbols=symbols,
    )


def test_totals_add_up_by_market_channel_and_symbol() -> None:
    ledger = Ledger()
    ledger.add([header(A=HeaderTotals(5, 7, 3, 18, Decimal("0.1"), Decimal(1)))])
    ledger.add([header(A=HeaderTotals(2, 4, 3, 9, Decimal("0.2"), Decimal(2)))])
    ledger.add([header("aggTrade", A=HeaderTotals(1, 1, 1, 1))])
    assert ledger.positions() == [
        Position("spot", "trade", "A", 2, 7, 6, 27, Decimal("0.3"), Decimal(3)),
        Position("spot", "aggTrade", "A", 1, 1, 1, 1, None, None),
    ]


def test_a_total_that_misses_a_part_is_no_total() -> None:
    ledger = Ledger()
    ledger.add([header(A=HeaderTotals(1, 1, 1, 1, Decimal(1), Decimal(1)))])
    ledger.add([header(A=HeaderTotals(2, 2, 1, 2))])
    ledger.add([header(A=HeaderTotals(3, 3, 1, 3, Decimal(1), Decimal(1)))])
    (position,) = ledger.positions()
    assert (position.count, position.sum_quantity, position.sum_quote_quantity) == (3, None, None)


def test_what_was_read_does_not_change_any_more() -> None:
    ledger = Ledger()
    ledger.add([header(A=HeaderTotals(1, 1, 1, 1))])
    (before,) = ledger.positions()
    ledger.add([header(A=HeaderTotals(2, 2, 1, 2))])
    assert before.count == 1


def test_changed_positions_are_those_since_the_last_settling() -> None:
    ledger = Ledger([Position("spot", "trade", "A", 1, 1, 1, 1, None, None)])
    assert ledger.changed() == []
    ledger.add([header(A=HeaderTotals(2, 2, 1, 2), B=HeaderTotals(9, 9, 1, 9))])
    assert {each.symbol for each in ledger.changed()} == {"A", "B"}
    ledger.settle()
    assert ledger.changed() == []
