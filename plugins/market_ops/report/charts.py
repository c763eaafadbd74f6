"""Charts of the page as geometry: where each bar, line and label lies. Templates draw them.

Pure over the document; floats are pixels here, never data. Where no SVG is shown (mail), a chart
is a line of block characters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

WIDTH: Final = 720
_DAY_SECONDS: Final = 86_400
# As people say them: up to 10 s by tens, then 1 and 10 minutes, hours and days.
_TICKS_US: Final[tuple[int, ...]] = (
    *(10**power for power in range(8)),
    *(60 * 10**6, 600 * 10**6, 3600 * 10**6, 36_000 * 10**6),
    *(86_400 * 10**6, 864_000 * 10**6, 8_640_000 * 10**6),
)
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_MAX_STRIPS: Final = 12
_MAX_SPANS: Final = 200


@dataclass(frozen=True)
class Tick:
    """A mark of an axis, in microseconds (latency) or hours (time)."""

    at: float
    value: int


@dataclass(frozen=True)
class Lines:
    """A line chart over the day: each line is a list of unbroken runs of points."""

    height: int
    left: int
    bottom: int
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    p50: list[str]
    p99: list[str]


@dataclass(frozen=True)
class Bar:
    """A bar, its label below and its value above."""

    x: float
    y: float
    width: float
    height: float
    label: str
    value: int
    is_day: bool


@dataclass(frozen=True)
class Bars:
    """A bar chart."""

    height: int
    bottom: int
    bars: list[Bar]


@dataclass(frozen=True)
class Span:
    """A span of time on a strip."""

    x: float
    width: float
    kind: str
    title: str


@dataclass(frozen=True)
class Strip:
    """A symbol and its spans."""

    y: int
    symbol: str
    spans: list[Span]


@dataclass(frozen=True)
class Strips:
    """Where in the day holes are and were."""

    height: int
    left: int
    bottom: int
    x_ticks: list[Tick]
    strips: list[Strip]


def latency_lines(document: dict[str, Any]) -> Lines | None:
    """Lay out p50 and worst p99 of the whole way over the day, on a logarithmic axis."""
    latency = document["latency"]
    steps = latency["steps"]
    if not steps:
        return None
    height, left, top, bottom = 220, 64, 12, 194
    values = [_drawable(step[name]) for step in steps for name in ("p50_us", "worst_p99_us")]
    first = max(number for number, tick in enumerate(_TICKS_US) if tick <= min(values))
    last = next(
        number
        for number, tick in enumerate(_TICKS_US)
        if number > first and (tick >= max(values) or tick == _TICKS_US[-1])
    )
    low, high = math.log10(_TICKS_US[first]), math.log10(_TICKS_US[last])

    def y(value: int) -> float:
        share = (math.log10(_drawable(value)) - low) / (high - low)
        return round(bottom - share * (bottom - top), 1)

    def runs(name: str) -> list[str]:
        found: list[list[str]] = []
        previous = None
        for step in steps:
            second = _second_of(document, step["from"])
            if previous is None or second - previous > latency["step_seconds"]:
                found.append([])
            middle = second + latency["step_seconds"] / 2
            found[-1].append(f"{_x(middle, left)},{y(step[name])}")
            previous = second
        return [" ".join(points) for points in found]

    return Lines(
        *(height, left, bottom, _hours(left)),
        [Tick(y(tick), tick) for tick in _TICKS_US[first : last + 1]],
        *(runs("p50_us"), runs("worst_p99_us")),
    )


def _drawable(microseconds: int) -> int:
    """Return a latency within the axis; a clock that is behind makes negative ones."""
    return min(max(1, microseconds), _TICKS_US[-1])


def volume_bars(document: dict[str, Any]) -> Bars | None:
    """Lay out the number of trades of the day and of those before."""
    days = document["volumes"]["days"]
    most = max(day["trades"] for day in days)
    if not most:
        return None
    height, top, bottom, gap = 190, 24, 164, 14
    width = (WIDTH - gap * (len(days) - 1)) / len(days)
    bars = []
    for number, day in enumerate(days):
        tall = round((bottom - top) * day["trades"] / most, 1)
        place = (round(number * (width + gap), 1), round(bottom - tall, 1), round(width, 1), tall)
        bars.append(Bar(*place, day["day"][5:], day["trades"], day["day"] == document["day"]))
    return Bars(height, bottom, bars)


def hole_strips(document: dict[str, Any]) -> Strips | None:
    """Lay out when trades are missing and when healed ones were traded, worst symbols first."""
    left, row = 130, 22
    spans: dict[str, list[Span]] = {}
    total = 0
    for kind, key in (("hole", "holes"), ("healed", "healed")):
        for found in document[key]:
            symbol = found["symbol"]
            is_new = symbol not in spans
            if total == _MAX_SPANS or (is_new and len(spans) == _MAX_STRIPS):
                continue
            spans.setdefault(symbol, []).append(_span(document, kind, found, left))
            total += 1
    if not spans:
        return None
    strips = [Strip(8 + row * i, symbol, found) for i, (symbol, found) in enumerate(spans.items())]
    bottom = 8 + row * len(strips)
    return Strips(bottom + 26, left, bottom, _hours(left), strips)


def _span(document: dict[str, Any], kind: str, row: dict[str, Any], left: int) -> Span:
    if kind == "hole":
        since, until = row["previous_traded_at"], row["next_traded_at"]
        kind = "unpublished" if row["is_unpublished"] else "missing"
        title = f"{row['missing']} {kind}"
    else:
        since, until = row["first_traded_at"], row["last_traded_at"]
        title = f"{row['trades']} healed by {row['source']}"
    start, end = (
        _x(min(max(_second_of(document, at), 0), _DAY_SECONDS), left) for at in (since, until)
    )
    start = min(start, WIDTH - 3)
    return Span(start, round(max(3, end - start), 1), kind, f"{title}, {since} to {until}")


def sparkline(values: Sequence[float | None], low: float) -> str:
    """Return values as block characters from `low` to the largest; a space where there is none."""
    known = [value for value in values if value is not None]
    spread = max([value - low for value in known] + [1e-9])
    top = len(_BLOCKS) - 1
    return "".join(
        " " if value is None else _BLOCKS[round((value - low) / spread * top)] for value in values
    )


def daily_blocks(document: dict[str, Any]) -> str:
    """Return the trades of the day and of those before as block characters, from 0."""
    return sparkline([day["trades"] for day in document["volumes"]["days"]], 0)


def hourly_blocks(document: dict[str, Any]) -> str:
    """Return the worst p99 of each hour as block characters, logarithmic, from the least one."""
    hours: list[float | None] = [None] * 24
    for step in document["latency"]["steps"]:
        hour = int(_second_of(document, step["from"])) // 3600
        hours[hour] = max(hours[hour] or 0, math.log10(max(1, step["worst_p99_us"])))
    return sparkline(hours, min([hour for hour in hours if hour is not None], default=0))


def _second_of(document: dict[str, Any], at: str) -> float:
    start = datetime.fromisoformat(f"{document['day']}T00:00:00+00:00")
    return (datetime.fromisoformat(at) - start).total_seconds()


def _x(second: float, left: int) -> float:
    return round(left + second / _DAY_SECONDS * (WIDTH - left - 14), 1)


def _hours(left: int) -> list[Tick]:
    return [Tick(_x(hour * 3600, left), hour) for hour in range(0, 25, 4)]
