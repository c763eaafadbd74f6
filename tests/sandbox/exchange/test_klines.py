from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.exchange.fixed_point import multiply_truncated
from sandbox.exchange.klines import INTERVALS, MINUTE_US, Bar, KlineSeries
from sandbox.exchange.market import Aggregate

PREVIOUS = 77
START_US = 1_790_000_040_000_000 // (MINUTE_US * 1440) * (MINUTE_US * 1440)


@st.composite
def tapes(draw: st.DrawFn) -> list[Aggregate]:
    out, time_us, trade_id = [], START_US, 100
    for number in range(draw(st.integers(0, 25))):
        time_us += draw(
            st.sampled_from([0, 0, 1, 999, 1_000_000, 30_000_000, MINUTE_US, 7 * MINUTE_US])
        )
        fills = tuple(draw(st.lists(st.integers(1, 10**10), min_size=1, max_size=3)))
        price = draw(st.integers(1, 10**12))
        quote = sum(multiply_truncated(price, fill) for fill in fills)
        maker = draw(st.booleans())
        out.append(Aggregate(time_us, 0, number, trade_id, price, sum(fills), quote, fills, maker))
        trade_id += len(fills)
    return out


def reference(tape: list[Aggregate], interval_us: int, end_us: int) -> list[Bar]:
    """Aggregate trade by trade, slowly: every window is cut out of the whole tape."""
    trades = [
        (a.time_us, a.first_id + i, a.price, fill, a.is_buyer_maker)
        for a in tape
        for i, fill in enumerate(a.fills)
    ]
    bars, close = [], PREVIOUS
    for opened in range(START_US, end_us - interval_us + 1, interval_us):
        mine = sorted(
            (t for t in trades if opened <= t[0] < opened + interval_us), key=lambda t: t[1]
        )
        if not mine:
            bars.append(Bar(opened, close, close, close, close))
            continue
        prices = [t[2] for t in mine]
        close = prices[-1]
        taker = [t for t in mine if not t[4]]
        bars.append(
            Bar(
                opened, prices[0], max(prices), min(prices), close,
                sum(t[3] for t in mine), sum(t[2] * t[3] // 10**8 for t in mine),
                sum(t[3] for t in taker), sum(t[2] * t[3] // 10**8 for t in taker),
                mine[0][1], mine[-1][1], len(mine),
            )
        )  # fmt: skip
    return bars


@settings(max_examples=40, deadline=None)
@given(tapes())
def test_closed_bars_equal_a_slow_reference(tape: list[Aggregate]) -> None:
    series = KlineSeries(START_US, PREVIOUS, keep=10_000)
    closed: list[tuple[str, Bar]] = []
    for aggregate in tape:
        closed += series.add(aggregate)
    end_us = (tape[-1].time_us if tape else START_US) // MINUTE_US * MINUTE_US + 3 * MINUTE_US
    closed += series.roll(end_us)
    for interval, minutes in INTERVALS.items():
        expected = reference(tape, minutes * MINUTE_US, end_us)
        assert list(series.closed(interval)) == expected
        assert [bar for name, bar in closed if name == interval] == expected


@settings(max_examples=20)
@given(tapes())
def test_the_forming_bar_holds_what_is_not_closed(tape: list[Aggregate]) -> None:
    series = KlineSeries(START_US, PREVIOUS, keep=10_000)
    for aggregate in tape:
        series.add(aggregate)
    total = sum(len(a.fills) for a in tape)
    for interval in INTERVALS:
        kept = sum(bar.trades for bar in series.closed(interval))
        current = series.current(interval)
        assert kept + current.trades == total
        assert current.close == (tape[-1].price if tape else PREVIOUS)


def test_a_minute_without_trades_repeats_the_close() -> None:
    series = KlineSeries(START_US, PREVIOUS, keep=10)
    [(interval, bar)] = series.roll(START_US + MINUTE_US)
    assert interval == "1m"
    assert (bar.open, bar.high, bar.low, bar.close) == (PREVIOUS,) * 4
    assert (bar.first_id, bar.last_id, bar.trades, bar.volume, bar.quote_volume) == (
        -1,
        -1,
        0,
        0,
        0,
    )


def test_only_so_many_bars_are_kept() -> None:
    series = KlineSeries(START_US, PREVIOUS, keep=3)
    series.roll(START_US + 10 * MINUTE_US)
    assert [bar.opened_at_us for bar in series.closed("1m")] == [
        START_US + minute * MINUTE_US for minute in (7, 8, 9)
    ]
