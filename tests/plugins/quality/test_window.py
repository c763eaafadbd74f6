from datetime import UTC, datetime, timedelta

import pytest

from plugins.market_ops.quality.window import SETTLED, Window, sql_time, window_of

NOW = datetime(2026, 3, 2, 10, 30, 0, 7, tzinfo=UTC)


def test_hours_end_now() -> None:
    assert window_of(None, 6, NOW) == Window(NOW - timedelta(hours=6), NOW, NOW - SETTLED)


def test_a_day_is_whole_unless_it_goes_on() -> None:
    yesterday = window_of("2026-03-01", 6, NOW)
    assert yesterday == Window(
        datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC), NOW - SETTLED
    )
    assert window_of("2026-03-02", 6, NOW).end == NOW


@pytest.mark.parametrize("day", ["2026-03-03", "01.03.2026", ""])
def test_days_that_are_none(day: str) -> None:
    with pytest.raises(ValueError, match=r"^day: "):
        window_of(day, 6, NOW)


def test_times_are_exact() -> None:
    assert sql_time(datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC)) == "timestamp_micros(1000001)"
    assert Window(NOW, NOW, NOW).holds("at") == f"at >= {sql_time(NOW)} and at < {sql_time(NOW)}"


def test_what_is_still_being_loaded_is_left_for_later() -> None:
    window = window_of("2026-03-01", 6, NOW).widened(timedelta(hours=1))
    assert window.is_settled == f"loaded_at < {sql_time(NOW - SETTLED)}"
    assert window.whole_days.as_of == window.as_of


def test_days_of_a_window() -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    day = Window(midnight - timedelta(hours=6), midnight, NOW)
    assert day.holds_date("on") == "on between date '2026-03-01' and date '2026-03-01'"
    assert Window(NOW, NOW + timedelta(days=1), NOW).whole_days.start == midnight
