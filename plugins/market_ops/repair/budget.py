"""Budget: when the next request to Binance's REST may be sent. Pure; times are Unix seconds.

Source: Binance's REST documentation, "IP Limits". Weight counts per IP and minute, each answer says
how much is used. 429 asks for a pause of `Retry-After` seconds; who goes on is banned (418), each
time for longer. We stop at two thirds, as others may share the address.
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
# The exchange's minute may end a little after ours.
_SLACK_SECONDS: Final = 1.0


class Banned(Exception):
    """The address is banned until a time (Unix seconds); each further request makes it longer."""

    def __init__(self, until: float) -> None:
        super().__init__(until)
        self.until = until


class Budget:
    """The weight of one address.

    Args:
        most: weight a minute that may be used.
        banned_until: the end of a ban that is known already, Unix seconds.
    """

    def __init__(self, most: int = int(WEIGHT_A_MINUTE * SHARE), banned_until: float = 0.0) -> None:
        self._most = most
        self._minute = -1
        self._used = 0
        self._not_before = 0.0
        self.banned_until = banned_until

    def wait(self, weight: int, now: float) -> float:
        """Return the seconds to wait before a request of this weight, and count it.

        Raises:
            Banned: nothing may be sent for longer.
        """
        if now < self.banned_until:
            raise Banned(self.banned_until)
        sent_at = max(now, self._not_before)
        self._turn(sent_at)
        if self._used + weight > self._most and self._used:
            sent_at = max(sent_at, (self._minute + 1) * 60 + _SLACK_SECONDS)
            self._turn(sent_at)
        self._used += weight
        return sent_at - now

    def answered(self, status: int, headers: Mapping[str, str], now: float) -> None:
        """Take note of an answer.

        Raises:
            Banned: the answer is a 418.
        """
        known = {name.upper(): value for name, value in headers.items()}
        used = known.get(USED_HEADER.upper(), "")
        self._turn(now)
        if used.isdigit():
            self._used = int(used)
        if status not in DEFAULT_PAUSE:
            return
        told = known.get(RETRY_HEADER.upper(), "")
        until = now + (float(told) if told.isdigit() else DEFAULT_PAUSE[status])
        self._not_before = max(self._not_before, until)
        if status == 418:
            self.banned_until = max(self.banned_until, until)
            raise Banned(self.banned_until)

    def _turn(self, now: float) -> None:
        minute = int(now // 60)
        if minute > self._minute:
            self._minute, self._used = minute, 0
