"""The window: which time a check looks at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

DAY = timedelta(days=1)
# Rows are visible within seconds of their loaded_at. A check asks a table more than once, and its
# answers must fit together: what is still coming is left for the next check.
SETTLED = timedelta(minutes=1)


@dataclass(frozen=True)
class Window:
    """A span of time, UTC.

    Attributes:
        start: inclusive.
        end: exclusive.
        as_of: rows that were loaded later are not looked at.
    """

    start: datetime
    end: datetime
    as_of: datetime

    def widened(self, before: timedelta, after: timedelta = timedelta()) -> Window:
        """Return the window with margins."""
        return replace(self, start=self.start - before, end=self.end + after)

    @property
    def whole_days(self) -> Window:
        """The window from the midnight before its start: what is kept by day begins there."""
        midnight = datetime.combine(self.start.date(), datetime.min.time(), UTC)
        return replace(self, start=midnight)

    @property
    def is_settled(self) -> str:
        """SQL: the row was loaded long enough before the check."""
        return f"loaded_at < {sql_time(self.as_of)}"

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
        return Window(now - timedelta(hours=hours), now, now - SETTLED)
    try:
        start = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    except ValueError:
        raise ValueError(f"day: expected a date as 2026-03-01, was {day!r}") from None
    if start >= now:
        raise ValueError(f"day: {day} has not begun; choose one up to {now.date()}")
    return Window(start, min(start + DAY, now), now - SETTLED)
