"""The simulated clock, and the market's own timeline that stops while the market is paused."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable


class SimulatedClock:
    """now = start + (wall - wall at creation) x speed, but for one hurry and jumps.

    `wall` returns seconds and never runs backwards (`time.monotonic`).
    """

    def __init__(self, start_us: int, speed: float, wall: Callable[[], float]) -> None:
        self.start_us = start_us
        self.speed = speed
        self.hurry_ends_us: int | None = None
        self._wall = wall
        self._wall_start = wall()  # seconds at `_since_us`
        self._since_us = start_us
        self._hurry_s = 0.0
        self._ahead_us = 0  # by jumps since

    @property
    def is_hurrying(self) -> bool:
        """Whether it runs towards the end of a hurry."""
        return self.hurry_ends_us is not None and self.now_us() < self.hurry_ends_us

    def hurry(self, until_us: int, seconds: float) -> None:
        """Reach `until_us` in so many wall seconds, evenly, then go on at the usual speed.

        Raises:
            ValueError: `until_us` has passed.
        """
        now_us = self.now_us()
        if until_us <= now_us:
            raise ValueError("the market's clock is there already")
        self._since_us, self._wall_start, self._ahead_us = now_us, self._wall(), 0
        self.hurry_ends_us, self._hurry_s = until_us, seconds

    def jump(self, seconds: float) -> None:
        """Go so much ahead at once.

        Raises:
            ValueError: the clock is hurrying.
        """
        if self.is_hurrying:
            raise ValueError("the market's clock is hurrying; wait for its end (/sim/status)")
        self._ahead_us += int(seconds * 1_000_000)

    def now_us(self) -> int:
        """Return the simulated UTC time in microseconds."""
        passed = self._wall() - self._wall_start
        since_us = self._since_us + self._ahead_us
        if self.hurry_ends_us is not None:
            if passed < self._hurry_s:
                return since_us + int((self.hurry_ends_us - since_us) * (passed / self._hurry_s))
            since_us, passed = self.hurry_ends_us + self._ahead_us, passed - self._hurry_s
        return since_us + int(passed * self.speed * 1_000_000)


class Timeline:
    """Translates simulated time to market time, which does not pass while paused.

    A pause ends the market as the streams see it; after a resume the trades that would have
    come during the pause follow later, so ids stay consecutive. All times in microseconds.
    """

    def __init__(self) -> None:
        self._starts = [0]  # market times from which the shift at the same index holds
        self._shifts = [0]  # simulated time - market time
        self._paused_at: int | None = None

    @property
    def paused(self) -> bool:
        """Whether market time stands still."""
        return self._paused_at is not None

    def pause(self, now_us: int) -> None:
        """Stop market time at simulated time `now_us`; no effect when already paused."""
        if self._paused_at is None:
            self._paused_at = now_us - self._shifts[-1]

    def resume(self, now_us: int) -> None:
        """Let market time go on from where it stopped; no effect when not paused."""
        if self._paused_at is not None:
            self._starts.append(self._paused_at)
            self._shifts.append(now_us - self._paused_at)
            self._paused_at = None

    def reached(self, now_us: int) -> int:
        """Return the market time that simulated time `now_us`, the present, has reached."""
        return now_us - self._shifts[-1] if self._paused_at is None else self._paused_at

    def to_simulated(self, market_us: int) -> int:
        """Return when something at `market_us` happens in simulated time."""
        return market_us + self._shifts[bisect_right(self._starts, market_us) - 1]

    def to_market(self, simulated_us: int) -> int:
        """Return the first market time whose simulated time is at or after `simulated_us`."""
        for start, shift in zip(reversed(self._starts), reversed(self._shifts), strict=True):
            if simulated_us >= start + shift:
                return simulated_us - shift
            if start and simulated_us > self.to_simulated(start - 1):
                return start
        return simulated_us - self._shifts[0]
