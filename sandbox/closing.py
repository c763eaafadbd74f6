"""How a run ends: the market closes, its last klines come, all that was sent arrives everywhere.

For `sandbox.demo` and `sandbox.certify`, which differ in what they do meanwhile: their `tick`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Protocol

from sandbox.probes import post_json
from sandbox.progress import Progress

# Closing klines come up to 2 s late (binance-protocol, section 2).
_KLINE_DELAY: Final = timedelta(seconds=3)
# Without any movement for so long the pipeline is stuck, and the certificate will say where.
_STUCK_SECONDS: Final = 60.0


class Tick(Protocol):
    """Looks at the platform, shows it, waits a little."""

    def __call__(self, note: str, *, exactly: bool = False) -> Progress:
        """Return what was seen.

        Args:
            note: what is waited for.
            exactly: see `sandbox.progress.Reader.read`.
        """
        ...


def close_market(exchange_url: str, tick: Tick, *, speed: float = 1.0) -> None:
    """Close the simulated market and wait until the minute of the last trade has its klines.

    Args:
        exchange_url: of the simulated exchange.
        tick: called meanwhile.
        speed: of the exchange's clock.
    """
    post_json(f"{exchange_url}/sim/pause", {})
    now = tick("closing the market").exchange_now
    if now is None:
        return
    closed = now.replace(second=0, microsecond=0) + timedelta(minutes=1) + _KLINE_DELAY
    limit = time.monotonic() + 2 * (closed - now).total_seconds() / speed + 10
    while now is not None and now < closed and time.monotonic() < limit:
        left = (closed - now).total_seconds() / speed
        now = tick(f"closing klines in {left:.0f} s").exchange_now


def drain(tick: Tick, say: Callable[[str], object], *, is_recording: bool = False) -> None:
    """Wait until what was sent is archived and loaded, or nothing moves any more.

    Args:
        tick: called meanwhile.
        say: told what is missing when nothing moves.
        is_recording: the exchange serves a recording, whose end is known only when it is reached.
    """
    frames = tick("draining").sealed
    moved, before = time.monotonic(), ""
    while True:
        progress = tick("draining", exactly=True)
        if is_recording and not progress.missing(0):
            frames = max(frames, progress.sealed)
        missing = progress.missing(frames)
        if not missing:
            return
        if missing != before:
            moved, before = time.monotonic(), missing
        if time.monotonic() - moved > _STUCK_SECONDS:
            say(f"nothing moved for {_STUCK_SECONDS:.0f} s: {missing}")
            return
