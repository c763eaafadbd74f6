"""The window: which time a check looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Window:
    """A span of time, UTC.

    Attributes:
        start: inclusive.
        end: exclusive.
    """

    start: datetime
    end: datetime

    def widened(self, before: timedelta, after: timedelta = timedelta()) -> Window:
        """Return the window with margins."""
        return Window(self.start - before, self.end + after)

    @property
    def whole_days(self) -> Window:
        """The window from the midnight before its start: what is kept by day begins there."""
        return Window(datetime.combine(self.start.date(), datetime.min.time(), UTC), self.end)

    def holds(self, column: str) -> str:
        """Return SQL: the TIMESTAMP column lies in the window. Constant, so partitions are pruned.

        Times are written in microseconds, as the emulator rewrites decimals of literals.
        """
        return f"{column} >= {sql_time(self.start)} and {column} < {sql_time(self.end)}"

    def holds_date(self, column: str) -> str:
        """Return SQL: the DATE column is a day that the window touches."""
        last = (self.end - timedelta(microseconds=1)).date()
        return f"{column} between date '{self.start.date()}' and date '{last}'"


def sql_time(time: datetime) -> str:
    """Return SQL for a time, exact to the microsecond."""
    since_1970 = time - datetime.fromtimestamp(0, UTC)
    return f"timestamp_micros({since_1970 // timedelta(microseconds=1)})"


def window_of(day: str | None, hours: int, now: datetime) -> Window:
    """Return the window that is asked for.

    Args:
        day: a UTC day as 2026-03-01; goes before `hours`.
        hours: the last hours up to now.
        now: aware, UTC.

    Raises:
        ValueError: there is no such day, or it has not begun.
    """
    if day is None:
        return Window(now - timedelta(hours=hours), now)
    try:
        start = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    except ValueError:
        raise ValueError(f"day: expected a date as 2026-03-01, was {day!r}") from None
    if start >= now:
        raise ValueError(f"day: {day} has not begun; choose one up to {now.date()}")
    return Window(start, min(start + DAY, now))
