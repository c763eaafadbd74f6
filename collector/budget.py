"""Budget: when the next request to Binance's REST may be sent. Pure; times are Unix seconds.

Weight counts per address and minute, each answer says how much is used: what the header says
counts, as others may share the address. 429 asks for a pause of `Retry-After` seconds; who goes on
is banned (418), each time for longer. We stop at two thirds of what is allowed.

Source: binance-protocol, section 4 (rate limits).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WEIGHT_A_MINUTE: Final = 6000
SHARE: Final = 2 / 3
USED_HEADER: Final = "X-MBX-USED-WEIGHT-1M"
RETRY_HEADER: Final = "Retry-After"
# Without the header: the minute that is full ends by then; the shortest ban takes two.
DEFAULT_PAUSE: Final = {429: 60.0, 418: 120.0}
# The exchange's minute may begin a little after ours.
_SLACK_SECONDS: Final = 1.0


class Budget:
    """The weight of one address, shared by all requests to it.

    Attributes:
        used: weight used in this minute, by us and others.
        spent: weight of all our requests.
        paused_until: nothing may be sent before, Unix seconds; the end of a pause or a ban.

    Args:
        most: weight a minute that may be used.
    """

    def __init__(self, most: int = int(WEIGHT_A_MINUTE * SHARE)) -> None:
        self.used = 0
        self.spent = 0
        self.paused_until = 0.0
        self._most = most
        self._minute = -1

    def delay(self, weight: int, now: float) -> float:
        """Return the seconds to wait before a request of this weight may be sent; 0 for none."""
        if now < self.paused_until:
            return self.paused_until - now
        self._turn(now)
        if self.used and self.used + weight > self._most:
            return (self._minute + 1) * 60 + _SLACK_SECONDS - now
        return 0.0

    def spend(self, weight: int, now: float) -> None:
        """Count a request that is sent now."""
        self._turn(now)
        self.used += weight
        self.spent += weight

    def answered(self, status: int, headers: Mapping[str, str], now: float) -> None:
        """Take note of an answer."""
        known = {name.upper(): value for name, value in headers.items()}
        used = known.get(USED_HEADER, "")
        self._turn(now)
        if _is_number(used):
            self.used = int(used)
        if status in DEFAULT_PAUSE:
            told = known.get(RETRY_HEADER.upper(), "")
            seconds = float(told) if _is_number(told) else DEFAULT_PAUSE[status]
            self.paused_until = max(self.paused_until, now + seconds)

    def _turn(self, now: float) -> None:
        minute = int((now - _SLACK_SECONDS) // 60)
        if minute > self._minute:
            self._minute, self.used = minute, 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
