"""Failing on purpose: which call is struck, decided purely.

`rpc`, `subscriber` and `streaming` ask before or after doing their work; tests add faults in
process (`PubSubServer.faults`) or through `admin` (`POST /faults`). `now` (microseconds) is an
argument and chance comes from a seed, so a run can be repeated.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from sandbox.pubsub.model import SECOND

Kind = Literal["unavailable", "slow", "duplicate", "drop_ack", "lost_reply"]
Calls = Literal["publish", "subscribe"]
"""publish: Publish. subscribe: Pull, StreamingPull, Acknowledge, ModifyAckDeadline."""
Target = Literal["publish", "subscribe", "all"]

MAX_DELAY_SECONDS = 60.0
"""Longer than any client waits by default for one of these calls."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, for how long and how often.

    It ends after striking `calls` times or after `seconds`, whichever comes first; with neither it
    stays until it is cleared.

    Attributes:
        kind: `unavailable`: the call fails with UNAVAILABLE and does nothing. `slow`: the call
            takes `delay_seconds` longer. `duplicate`: a message is delivered a second time, in a
            later response, under another ack id. `drop_ack`: an acknowledgement is answered OK and
            not carried out. `lost_reply`: a publish is carried out and answered UNAVAILABLE, so
            that the client publishes again.
        target: which calls; means something for `unavailable` and `slow` only.
        calls: strike this often (for `duplicate`: messages).
        seconds: strike for this long.
        probability: of striking, at each opportunity.
        every: strike at each n-th opportunity only.
        delay_seconds: for `slow`.
    """

    kind: Kind
    target: Target = "all"
    calls: int | None = None
    seconds: float | None = None
    probability: float = 1.0
    every: int = 1
    delay_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: names all mistakes.
        """
        mistakes = [
            f"{name}: expected {expected}, was {getattr(self, name)!r}"
            for name, expected, good in self._checks()
            if not good
        ]
        if mistakes:
            raise ValueError("; ".join(mistakes))

    def _checks(self) -> list[tuple[str, str, bool]]:
        slow = self.kind == "slow"
        return [
            ("kind", "one of " + " ".join(get_args(Kind)), self.kind in get_args(Kind)),
            ("target", "one of " + " ".join(get_args(Target)), self.target in get_args(Target)),
            ("calls", "a whole number above 0", self.calls is None or _whole(self.calls)),
            ("seconds", "a number above 0", self.seconds is None or _within(self.seconds, 1e9)),
            ("probability", "above 0, at most 1", _within(self.probability, 1.0)),
            ("every", "a whole number above 0", _whole(self.every)),
            (
                "delay_seconds",
                f"above 0, at most {MAX_DELAY_SECONDS} (for kind slow only)",
                _within(self.delay_seconds, MAX_DELAY_SECONDS) if slow else not self.delay_seconds,
            ),
        ]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _within(value: object, limit: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= limit


def parse_fault(body: object) -> Fault:
    """Return the fault that a JSON object describes.

    Raises:
        ValueError: not an object, no kind, an unknown field, or a value out of range.
    """
    names = {item.name for item in fields(Fault)}
    if not isinstance(body, Mapping) or "kind" not in body:
        raise ValueError('expected a JSON object with at least "kind"')
    if unknown := set(body) - names:
        raise ValueError(f"unknown {sorted(unknown)}; expected some of {sorted(names)}")
    return Fault(**body)


@dataclass(slots=True)
class _Active:
    fault: Fault
    ends_at: int | None
    left: int | None
    opportunities: int = 0

    def over(self, now: int) -> bool:
        return self.left == 0 or (self.ends_at is not None and now >= self.ends_at)


class FaultPlan:
    """The faults in force.

    Args:
        seed: of the generator behind `probability`.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._active: dict[int, _Active] = {}
        self._last_number = 0

    def add(self, fault: Fault, now: int) -> int:
        """Put a fault in force; return the number under which it can be removed."""
        self._last_number += 1
        ends_at = None if fault.seconds is None else now + int(fault.seconds * SECOND)
        self._active[self._last_number] = _Active(fault, ends_at, fault.calls)
        return self._last_number

    def remove(self, number: int) -> bool:
        """End one fault; False when there is none of that number."""
        return self._active.pop(number, None) is not None

    def clear(self) -> None:
        """End all faults."""
        self._active.clear()

    def describe(self, now: int) -> list[dict[str, object]]:
        """Return the faults in force with what is left of them."""
        self._drop_ended(now)
        return [
            {"id": number, **asdict(active.fault), "calls_left": active.left}
            for number, active in self._active.items()
        ]

    def unavailable(self, calls: Calls, now: int) -> bool:
        """Whether this call fails with UNAVAILABLE."""
        return self._strike(now, lambda fault: _hits(fault, "unavailable", calls)) is not None

    def delay_seconds(self, calls: Calls, now: int) -> float:
        """How long this call is held up."""
        fault = self._strike(now, lambda fault: _hits(fault, "slow", calls))
        return fault.delay_seconds if fault else 0.0

    def strikes(self, kind: Literal["duplicate", "drop_ack", "lost_reply"], now: int) -> bool:
        """Whether this message, acknowledgement or publish reply is struck."""
        return self._strike(now, lambda fault: fault.kind == kind) is not None

    def _strike(self, now: int, matches: Callable[[Fault], bool]) -> Fault | None:
        """Return the first matching fault that strikes, and use up one of its calls."""
        if not self._active:
            return None
        self._drop_ended(now)
        for active in self._active.values():
            fault = active.fault
            if not matches(fault):
                continue
            active.opportunities += 1
            if active.opportunities % fault.every or self._random.random() >= fault.probability:
                continue
            if active.left is not None:
                active.left -= 1
            return fault
        return None

    def _drop_ended(self, now: int) -> None:
        self._active = {n: active for n, active in self._active.items() if not active.over(now)}


def _hits(fault: Fault, kind: Kind, calls: Calls) -> bool:
    return fault.kind == kind and fault.target in (calls, "all")
