"""The documented limits of Binance, as arithmetic on a `now` that the caller passes in.

Sources: binance-protocol section 1 (connections) and 4 (REST weights). Limits run on the wall
clock in seconds whatever the simulated clock's speed, because the client that has to keep them
lives on the wall clock too. A limit of None is off.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits; the defaults are the documented ones, except where marked as ours."""

    messages_per_second: int | None = 5
    streams_per_connection: int | None = 1024
    connections_per_window: int | None = 300
    connections_window_s: float | None = 300.0
    ping_interval_s: float | None = 20.0
    pong_timeout_s: float | None = 60.0
    lifetime_s: float | None = 86_400.0
    weight_per_minute: int | None = 6000
    # Ours: the documents say that bans come "for going on" and grow from 2 minutes to 3 days.
    rejections_until_ban: int | None = 20
    first_ban_s: float | None = 120.0
    longest_ban_s: float | None = 259_200.0
    # Ours: a connection that reads this much too slowly is cut.
    send_buffer_bytes: int | None = 64 * 1024 * 1024

    @classmethod
    def off(cls) -> Limits:
        """Return limits that never bite; pings go on, silence of the client is tolerated."""
        return replace(
            cls(), messages_per_second=None, streams_per_connection=None,
            connections_per_window=None, pong_timeout_s=None, lifetime_s=None,
            weight_per_minute=None, send_buffer_bytes=None,
        )  # fmt: skip

    def override(self, name: str, text: str) -> Limits:
        """Return a copy with one limit changed; `text` is a positive number or "off".

        Raises:
            ValueError: no such limit, or no positive number.
        """
        names = [field.name for field in fields(self)]
        if name not in names:
            raise ValueError(f"limit {name!r} is unknown; the limits are {', '.join(names)}")
        if text == "off":
            return self._with(name, None)
        try:
            value = float(text) if name.endswith("_s") else int(text)
        except ValueError:
            value = 0
        if value <= 0:
            raise ValueError(f"limit {name}: expected a positive number or off, was {text!r}")
        return self._with(name, value)

    def _with(self, name: str, value: float | None) -> Limits:
        changes: dict[str, Any] = {name: value}
        return replace(self, **changes)


class RateWindow:
    """At most `limit` events in any `window_s` seconds."""

    def __init__(self, limit: int | None, window_s: float | None) -> None:
        self._limit = limit
        self._window_s = window_s or 0.0
        self._times: deque[float] = deque()

    def allow(self, now: float) -> bool:
        """Count an event at `now` and tell whether it is within the limit."""
        if self._limit is None:
            return True
        while self._times and now - self._times[0] >= self._window_s:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return False
        self._times.append(now)
        return True


class ConnectionAttempts:
    """Connection attempts per IP address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._windows: dict[str, RateWindow] = {}

    def allow(self, address: str, now: float) -> bool:
        """Count an attempt and tell whether it is within the limit."""
        limit, window_s = self._limits.connections_per_window, self._limits.connections_window_s
        window = self._windows.setdefault(address, RateWindow(limit, window_s))
        return window.allow(now)


class Keepalive:
    """When to ping a connection and when to give it up; times in wall seconds.

    Only a pong that echoes the payload of an outstanding ping counts; it settles earlier ones.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._opened = now
        self._last_ping = now
        self._outstanding: dict[bytes, float] = {}

    def ping_due(self, now: float) -> bytes | None:
        """Return the payload of the ping to send now, if one is due."""
        interval = self._limits.ping_interval_s
        if interval is None or now - self._last_ping < interval:
            return None
        self._last_ping = now
        payload = b"%d" % round(now * 1000)
        self._outstanding[payload] = now
        return payload

    def pong(self, payload: bytes) -> None:
        """Take a pong from the client."""
        if payload in self._outstanding:
            sent = self._outstanding[payload]
            self._outstanding = {p: at for p, at in self._outstanding.items() if at > sent}

    def expired(self, now: float) -> str | None:
        """Return why the connection must be closed now, if it must."""
        timeout, lifetime = self._limits.pong_timeout_s, self._limits.lifetime_s
        oldest = next(iter(self._outstanding.values()), now)
        if timeout is not None and now - oldest >= timeout:
            return "Pong timeout"
        if lifetime is not None and now - self._opened >= lifetime:
            return "Connection lifetime reached"
        return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to answer a REST request: status 200 (go on), 429 or 418."""

    status: int
    used_weight: int
    retry_after_s: int = 0


@dataclass(slots=True)
class _Caller:
    minute: int = -1
    used: int = 0
    rejections: int = 0
    bans: int = 0
    banned_until: float = 0.0


class WeightMeter:
    """REST weight per IP address and wall minute, with bans for those who go on after 429."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._callers: dict[str, _Caller] = {}

    def charge(self, address: str, weight: int, now: float) -> Verdict:
        """Count a request at Unix time `now` and decide; a rejected one costs its weight too."""
        caller = self._callers.setdefault(address, _Caller())
        if now < caller.banned_until:
            return Verdict(418, caller.used, math.ceil(caller.banned_until - now))
        minute = int(now // 60)
        if minute != caller.minute:
            caller.minute, caller.used, caller.rejections = minute, 0, 0
        caller.used += weight
        limit = self._limits.weight_per_minute
        if limit is None or caller.used <= limit:
            return Verdict(200, caller.used)
        caller.rejections += 1
        patience = self._limits.rejections_until_ban
        if patience is not None and caller.rejections > patience:
            return self._ban(caller, now)
        return Verdict(429, caller.used, math.ceil((minute + 1) * 60 - now))

    def _ban(self, caller: _Caller, now: float) -> Verdict:
        first = self._limits.first_ban_s or 0.0
        longest = self._limits.longest_ban_s or math.inf
        length = min(longest, first * 2.0**caller.bans)
        caller.bans += 1
        caller.banned_until = now + length
        return Verdict(418, caller.used, math.ceil(length))
