"""The live view of a running sandbox: a table in a terminal, plain lines elsewhere.

`View.update` is given what `sandbox.progress` read and what the supervisor's state says, and draws;
it asks nobody anything itself. Used by `sandbox.demo`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from market_data.decode import from_microseconds
from sandbox.progress import Progress
from sandbox.state import State

PLAIN_SECONDS: Final = 5.0  # between two lines where there is no terminal
_MEBIBYTE: Final = 2**20


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the table: how much has passed a stage, and how fast it does."""

    name: str
    amount: str
    rate: float | None = None
    note: str = ""


def stages(before: Progress, now: Progress, seconds: float, at: datetime) -> list[Stage]:
    """Return the stages of the way of a trade.

    Args:
        before: progress `seconds` ago.
        now: progress now.
        seconds: time between the two, above zero.
        at: the wall's time now.
    """

    def rate(earlier: int | None, later: int | None) -> float | None:
        return None if earlier is None or later is None else max(later - earlier, 0) / seconds

    lag = now.lag_seconds(at)
    sent = "the real one" if now.sent is None else f"{now.sent:,} trades"
    return [
        Stage("exchange sent", sent, rate(before.sent, now.sent)),
        Stage("received", f"{now.received:,} trades", rate(before.received, now.received)),
        Stage(
            "published",
            f"{now.published:,} frames",
            rate(before.published, now.published),
            f"{now.pending:,} pending",
        ),
        Stage(
            "archived",
            f"{now.objects:,} objects",
            rate(before.objects, now.objects),
            f"{now.object_bytes / _MEBIBYTE:,.1f} MiB",
        ),
        Stage(
            "loaded",
            f"{now.loaded:,} trades",
            rate(before.loaded, now.loaded),
            "" if lag is None else f"newest {max(lag, 0):,.1f} s old",
        ),
        Stage("klines", f"{now.klines:,} rows", rate(before.klines, now.klines)),
        Stage("candles", f"{now.candles:,} rows", rate(before.candles, now.candles)),
    ]


def plain_line(progress: Progress, at: datetime, note: str, dags: str = "") -> str:
    """Return the progress as one line."""
    lag = progress.lag_seconds(at)
    parts = [
        f"sent {progress.sent:,}" if progress.sent is not None else "",
        f"received {progress.received:,}",
        f"published {progress.published:,} frames",
        f"archived {progress.objects:,} objects",
        f"loaded {progress.loaded:,}",
        f"candles {progress.candles:,}",
        f"holes {progress.holes:,}",
        f"rejected {sum(progress.rejections.values()):,}",
        f"lag {max(lag, 0):.1f} s" if lag is not None else "",
        note,
        dags,
    ]
    return ", ".join(part for part in parts if part)


def render(
    stage_list: list[Stage],
    progress: Progress,
    state: State | None,
    note: str,
    dags: str = "",
) -> Group:
    """Return the whole picture for a terminal."""
    table = Table(title="the way of one trade", title_justify="left", expand=False)
    for name, justify in (("stage", "left"), ("so far", "right"), ("per s", "right"), ("", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    for stage in stage_list:
        rate = "" if stage.rate is None else f"{stage.rate:,.1f}"
        table.add_row(stage.name, stage.amount, rate, stage.note)
    parts: list[Table | Text] = [table, _health(progress), _candles(progress)]
    if state is not None:
        parts.append(_services(state))
    if dags:
        parts.append(Text(dags))
    return Group(*parts, Text(note, style="bold"))


def _health(progress: Progress) -> Text:
    holes = f"open holes: {progress.holes:,}"
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in progress.rejections.items())
    style = "red" if progress.holes or progress.rejections else "green"
    return Text(f"{holes}   rejections: {reasons or 'none'}", style=style)


def _candles(progress: Progress) -> Table:
    table = Table(title="newest candles", title_justify="left")
    for name in ("symbol", "minute", "open", "high", "low", "close", "volume", "trades"):
        table.add_column(name, justify="left" if name in ("symbol", "minute") else "right")
    for row in progress.latest:
        opened_at = from_microseconds(int(row["opened_us"] or 0))
        prices = [_trim(row[name]) for name in ("open", "high", "low", "close", "volume")]
        table.add_row(row["symbol"], f"{opened_at:%H:%M}", *prices, row["trades"])
    return table


def _services(state: State) -> Text:
    parts = [
        f"{service.name} {service.resident_bytes // _MEBIBYTE}"
        + (f" (restarted {service.restarts} times)" if service.restarts else "")
        for service in state.services
        if service.pid
    ]
    peak = state.peak_resident_bytes // _MEBIBYTE
    return Text(f"memory, MiB: {', '.join(parts)}; peak of all {peak}", style="dim")


def _trim(number: str | None) -> str:
    text = number or ""
    return text.rstrip("0").rstrip(".") if "." in text else text


class View:
    """Draws the progress again and again.

    Args:
        console: where to draw.
        now: the wall's clock.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, console: Console, *, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._console = console
        self._now = now
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._before: tuple[float, Progress] | None = None
        self._printed = float("-inf")

    def update(self, progress: Progress, state: State | None, note: str, dags: str = "") -> None:
        """Draw what is known now; `dags` is a line about Airflow."""
        at = self._clock()
        if self._live is None:
            if at - self._printed >= PLAIN_SECONDS:
                self._printed = at
                self._console.print(plain_line(progress, self._now(), note, dags), soft_wrap=True)
            return
        before_at, before = self._before or (at - 1.0, progress)
        stage_list = stages(before, progress, max(at - before_at, 0.001), self._now())
        self._before = at, progress
        self._live.update(render(stage_list, progress, state, note, dags), refresh=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
