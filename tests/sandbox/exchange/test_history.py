import itertools

from sandbox.exchange.clock import SimulatedClock
from sandbox.exchange.feed import MarketFeed
from sandbox.exchange.history import MarketHistory, NoHistory
from sandbox.exchange.hub import Hub
from sandbox.exchange.market import ORIGIN_US
from sandbox.exchange.payloads import MICROSECOND, MILLISECOND

from .conftest import START_US, small_tape

END_US = START_US + 130_000_000


def history() -> MarketHistory:
    feed = MarketFeed(
        small_tape(), START_US, 7, Hub(None), SimulatedClock(END_US, 1.0, lambda: 0.0)
    )
    feed.catch_up(END_US)
    return MarketHistory(feed)


HISTORY = history()


def test_trades_from_an_id_on_are_consecutive() -> None:
    recent = HISTORY.trades("BTCUSDT", None, 100, MILLISECOND)
    ids = [row["id"] for row in recent]
    assert ids == list(range(ids[0], ids[0] + 100))
    assert HISTORY.trades("BTCUSDT", ids[40], 10, MILLISECOND) == recent[40:50]
    assert HISTORY.trades("BTCUSDT", ids[95], 10, MILLISECOND) == recent[95:]
    assert HISTORY.trades("BTCUSDT", ids[-1] + 1, 10, MILLISECOND) == []


def test_the_past_begins_with_the_market() -> None:
    rows = HISTORY.trades("BTCUSDT", 0, 1000, MICROSECOND)
    assert len(rows) == 1000
    assert rows[-1]["time"] - ORIGIN_US < 600_000_000


def test_aggregates_by_id_and_by_time() -> None:
    rows = HISTORY.agg_trades("BTCUSDT", 0, None, None, 1000, MILLISECOND)
    assert [row["a"] for row in rows] == list(range(rows[0]["a"], rows[0]["a"] + len(rows)))
    for earlier, later in itertools.pairwise(rows):
        assert later["f"] == earlier["l"] + 1
    recent = HISTORY.agg_trades("BTCUSDT", None, None, None, 7, MILLISECOND)
    assert len(recent) == 7
    start_ms, end_ms = rows[10]["T"], rows[30]["T"]
    inside = [row for row in rows if start_ms <= row["T"] <= end_ms]
    start_us, end_us = int(str(start_ms)) * 1000, int(str(end_ms)) * 1000 + 999
    found = HISTORY.agg_trades("BTCUSDT", None, start_us, end_us, 1000, MILLISECOND)
    assert found == inside
    assert HISTORY.agg_trades("BTCUSDT", None, start_us, None, 5, MILLISECOND) == inside[:5]
    newest = HISTORY.agg_trades("BTCUSDT", None, None, end_us, 5, MILLISECOND)
    assert newest == inside[-5:]


def test_klines_equal_the_trades_of_their_minute() -> None:
    first, second, forming = HISTORY.klines("BTCUSDT", "1m", None, None, 500, MILLISECOND)
    assert (first[0], first[6]) == (START_US // 1000, START_US // 1000 + 59_999)
    trades = []
    (oldest,) = HISTORY.agg_trades("BTCUSDT", None, START_US, None, 1, MICROSECOND)
    from_id = oldest["f"]
    while rows := HISTORY.trades("BTCUSDT", from_id, 1000, MICROSECOND):
        trades += rows
        from_id = rows[-1]["id"] + 1
    mine = [t for t in trades if t["time"] < START_US + 60_000_000]
    assert (first[1], first[4], first[8]) == (mine[0]["price"], mine[-1]["price"], len(mine))
    assert second[8] + first[8] + forming[8] == len(trades)
    assert HISTORY.klines("BTCUSDT", "1m", START_US, None, 2, 1000) == [first, second]
    assert HISTORY.klines("BTCUSDT", "1m", None, None, 2, 1000) == [second, forming]
    assert HISTORY.klines("BTCUSDT", "1m", START_US + 1, START_US + 60_000_000, 5, 1000) == [second]


def test_what_does_not_trade_has_no_history() -> None:
    assert HISTORY.trades("BCCBTC", None, 5, 1000) == []
    assert HISTORY.agg_trades("BCCBTC", None, None, None, 5, 1000) == []
    assert HISTORY.klines("BCCBTC", "1m", None, None, 5, 1000) == []
    assert NoHistory().trades() == []
    assert NoHistory().agg_trades() == []
    assert NoHistory().klines() == []
