import json
from collections.abc import Callable

from sandbox.exchange.clock import SimulatedClock
from sandbox.exchange.feed import MarketFeed
from sandbox.exchange.hub import Hub
from sandbox.exchange.klines import MINUTE_US
from sandbox.exchange.payloads import MILLISECOND

from .conftest import START_US, small_tape


class Listener(Hub):
    """A hub that has subscribers for some streams and keeps what they get."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        super().__init__(None)
        self.wanted = wanted
        self.heard: list[dict[str, object]] = []

    def has_subscribers(self, stream: str) -> bool:
        return self.wanted(stream)

    def publish(self, stream: str, encode: Callable[[int], list[bytes]]) -> int:
        if not self.wanted(stream):
            return 0
        self.heard += [json.loads(payload) for payload in encode(MILLISECOND)]
        return 1


def feed_for(hub: Hub) -> MarketFeed:
    return MarketFeed(small_tape(), START_US, 7, hub, SimulatedClock(START_US, 1.0, lambda: 0.0))


def test_what_is_heard_equals_the_control_totals() -> None:
    hub = Listener(lambda stream: stream.endswith(("@trade", "@aggTrade")))
    feed = feed_for(hub)
    feed.catch_up(START_US + 5_000_000)
    trades = [m for m in hub.heard if m["e"] == "trade" and m["s"] == "BTCUSDT"]
    row = next(row for row in feed.trades.report() if row["symbol"] == "BTCUSDT")
    ids = [int(str(m["t"])) for m in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert (row["count"], row["sum_ids"], row["sent"]) == (len(ids), sum(ids), len(ids))
    assert (row["first_id"], row["last_id"]) == (ids[0], ids[-1])
    aggregates = [m for m in hub.heard if m["e"] == "aggTrade" and m["s"] == "BTCUSDT"]
    assert [i for a in aggregates for i in range(int(str(a["f"])), int(str(a["l"])) + 1)] == ids
    assert feed.emitted_trades == sum(1 for m in hub.heard if m["e"] == "trade")


def test_klines_come_as_snapshots_and_close_once() -> None:
    hub = Listener(lambda stream: "@kline_1m" in stream)
    feed = feed_for(hub)
    for second in range(0, 190, 1):
        feed.catch_up(START_US + second * 1_000_000)
    frames = [(m["s"], m["k"]) for m in hub.heard]
    closed = [(s, k) for s, k in frames if isinstance(k, dict) and k["x"]]
    assert len(closed) == 3 * 8
    for symbol in range(8):
        name = feed.instruments[symbol].symbol
        mine = [k for s, k in closed if s == name]
        kept = feed.klines(symbol, "1m", closed_only=True)
        assert [k["t"] * 1000 for k in mine] == [bar.opened_at_us for bar in kept]
        assert [k["n"] for k in mine] == [bar.trades for bar in kept]
    btc = [k for s, k in frames if s == "BTCUSDT" and isinstance(k, dict)]
    counts = [k["n"] for k in btc if k["t"] * 1000 == START_US]
    assert counts == sorted(counts)
    assert len(counts) > 20
    quiet = [k for s, k in closed if s == "PAXGBTC"]
    assert any(k["n"] == 0 and k["f"] == -1 and k["v"] == "0.00000000" for k in quiet)


def test_a_paused_market_still_closes_its_klines() -> None:
    hub = Listener(lambda stream: stream.endswith("@kline_1m"))
    feed = feed_for(hub)
    feed.catch_up(START_US + 30_000_000)
    feed.tape.timeline.pause(START_US + 30_000_000)
    emitted = feed.emitted_trades
    feed.catch_up(START_US + 2 * MINUTE_US + 3_000_000)
    assert feed.emitted_trades == emitted
    assert [bar.trades > 0 for bar in feed.klines(0, "1m", closed_only=True)] == [True, False]
    assert feed.details() == {"paused": True, "emitted_trades": emitted}


def test_the_book_ticker_follows_every_aggregate() -> None:
    hub = Listener(lambda stream: stream == "btcusdt@bookTicker")
    feed = feed_for(hub)
    feed.catch_up(START_US + 3_000_000)
    updates = [int(str(m["u"])) for m in hub.heard]
    assert len(updates) > 5
    assert updates == sorted(set(updates))
