from sandbox.exchange.kline_schedule import KlineSchedule
from sandbox.exchange.klines import MINUTE_US, Bar

START_US = 1_790_000_040_000_000
CLOSED_US = START_US + MINUTE_US


def test_closing_frames_come_5_to_2005_ms_after_the_close() -> None:
    delays = set()
    for symbol in range(50):
        schedule = KlineSchedule(7, 50, START_US)
        schedule.close(symbol, "1m", Bar.empty(START_US, 1))
        assert schedule.closing_pending(symbol, "1m")
        assert schedule.due_closings(CLOSED_US + 4_999) == []
        due_us = next(
            ms for ms in range(5, 2006)
            if schedule.due_closings(CLOSED_US + ms * 1000 + 999)
        )  # fmt: skip
        assert not schedule.closing_pending(symbol, "1m")
        delays.add(due_us)
    assert len(delays) > 40


def test_closing_frames_keep_their_order_and_come_once() -> None:
    schedule = KlineSchedule(7, 3, START_US)
    for symbol in range(3):
        schedule.close(symbol, "1m", Bar.empty(START_US, 1))
        schedule.close(symbol, "1m", Bar.empty(START_US + MINUTE_US, 1))
    due = schedule.due_closings(CLOSED_US + 10 * MINUTE_US)
    assert len(due) == 6
    for symbol in range(3):
        opened = [bar.opened_at_us for number, _, bar in due if number == symbol]
        assert opened == sorted(opened)
    assert schedule.due_closings(CLOSED_US + 20 * MINUTE_US) == []


def test_every_symbol_has_a_snapshot_turn_in_two_seconds() -> None:
    schedule = KlineSchedule(7, 50, START_US)
    turns = [
        symbol
        for ms in range(0, 4100, 5)
        for symbol in schedule.due_snapshots(START_US + ms * 1000 + 4_000)
    ]
    assert sorted(turns) == sorted([*range(50), *range(50)])


def test_a_late_caller_gets_each_symbol_once() -> None:
    schedule = KlineSchedule(7, 50, START_US)
    assert sorted(schedule.due_snapshots(START_US + 60_000_000)) == list(range(50))
