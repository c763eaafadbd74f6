from dataclasses import replace

from plugins.market_ops.report.charts import (
    WIDTH,
    daily_blocks,
    hole_strips,
    hourly_blocks,
    latency_lines,
    sparkline,
    volume_bars,
)
from plugins.market_ops.report.facts import Facts
from tests.plugins.report.samples import (
    DAY,
    NOW,
    START,
    bad_day,
    document,
    good_day,
    healed,
    hole,
    latency,
)


def test_an_empty_day_has_no_charts() -> None:
    found = document(Facts(day=DAY))
    assert latency_lines(found) is volume_bars(found) is hole_strips(found) is None
    assert hourly_blocks(found).strip() == ""
    assert daily_blocks(found) == "▁" * 8


def test_a_line_breaks_where_nothing_was_measured() -> None:
    rows = (latency(0, 1000, 2000), latency(15, 1000, 2000), latency(600, 10_000, 99_000))
    chart = latency_lines(document(replace(good_day(), latency=rows)))
    assert chart is not None
    assert [len(points.split()) for points in chart.p99] == [2, 1]
    assert [tick.value for tick in chart.y_ticks] == [1000, 10_000, 100_000]
    # 10 ms is in the middle of the axis from 1 ms to 100 ms
    assert chart.p50[1].split(",")[1] == str((12 + 194) / 2)


def test_long_latencies_have_ticks_in_minutes_and_days() -> None:
    rows = (latency(0, 90_000_000, 700_000_000), latency(20, 90_000_000, 10**16))
    for found, ticks in (
        (rows[:1], [1, 10, 60]),
        (rows[1:], [1, 10, 60, 600, 1440, 14400, 144000]),
    ):
        chart = latency_lines(document(replace(good_day(), latency=found)))
        assert chart is not None
        assert [tick.value // 60_000_000 for tick in chart.y_ticks] == ticks


def test_a_clock_that_is_behind_is_drawn_at_the_bottom() -> None:
    rows = (latency(0, -5, 10),)
    chart = latency_lines(document(replace(good_day(), latency=rows)))
    assert chart is not None
    assert chart.p50[0].endswith(f",{float(chart.bottom)}")


def test_the_day_is_the_last_bar_and_the_most_trades_the_highest() -> None:
    chart = volume_bars(document(good_day()))
    assert chart is not None
    assert [bar.is_day for bar in chart.bars] == [False] * 7 + [True]
    assert [bar.value for bar in chart.bars][-2:] == [80, 100]
    yesterday, today = chart.bars[-2:]
    assert (today.height, yesterday.height) == (140, 112)
    assert today.x + today.width <= WIDTH + 0.1


def test_spans_of_holes_stay_in_the_day() -> None:
    wide = hole(previous_traded_at=START.replace(month=1), next_traded_at=NOW)
    rows = tuple(healed(f"S{number}USDT") for number in range(20))
    chart = hole_strips(document(replace(good_day(), holes=(wide,), healed=rows)))
    assert chart is not None
    first, *others = chart.strips
    (span,) = first.spans
    assert (first.symbol, span.kind) == ("BTCUSDT", "missing")
    assert (span.x, span.x + span.width) == (chart.left, WIDTH - 14)
    assert len(others) == 11
    assert {span.kind for strip in others for span in strip.spans} == {"healed"}


def test_a_short_hole_is_still_seen() -> None:
    chart = hole_strips(document(bad_day()))
    assert chart is not None
    assert min(span.width for strip in chart.strips for span in strip.spans) >= 3


def test_blocks_grow_from_the_low_end() -> None:
    assert sparkline([0, None, 7], 0) == "▁ █"
    assert sparkline([5, 5], 5) == "▁▁"
    assert sparkline([], 0) == ""
    assert len(hourly_blocks(document(bad_day()))) == 24
