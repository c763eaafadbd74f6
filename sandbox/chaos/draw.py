"""Random fault scripts: what a seed means. Pure; the same seed is the same script for ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from sandbox.faults.script import BROKER, Injection, Script

# Of the campaign's market: all trade within seconds, so a hole at the end is seen by a later trade.
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "BNBUSDT", "DOGEUSDT", "ETHBTC")
KILLED: Final = ("collector", "job", "pubsub", "gcs")
_BROKER_PROCESS: Final = "pubsub"
_FIRST_SECONDS: Final = 4.0
_FEWEST, _MOST = 4, 8
# A job or an emulator needs seconds to be back: what is done to it before that finds nobody.
_BETWEEN_KILLS_SECONDS: Final = 15.0

_Parameters = dict[str, Any]
_Draw = Callable[[Random], _Parameters]


def _between(random: Random, low: float, high: float) -> float:
    return round(random.uniform(low, high), 1)


def _symbol(random: Random) -> _Parameters:
    return {"symbol": random.choice(SYMBOLS)}


def _stream(random: Random) -> _Parameters:
    return {**_symbol(random), "channel": random.choice(("trade", "trade", "aggTrade"))}


def _some(most: int) -> _Draw:
    return lambda random: {**_stream(random), "count": random.randint(1, most)}


def _held(low: float, high: float, most: int) -> _Draw:
    return lambda random: {
        **_some(most)(random),
        "delay_seconds": max(_between(random, low, high), 0.1),
    }


def _lasting(low: float, high: float) -> _Draw:
    return lambda random: {"seconds": _between(random, low, high)}


def _refusal(random: Random) -> _Parameters:
    status = random.choice((429, 429, 418, 500, 503))
    wait = {"retry_after": random.randint(1, 3)} if status in (418, 429) else {}
    return {"status": status, "count": random.randint(1, 4), **wait}


# What can be drawn: how often, and with which parameters.
CATALOGUE: Final[Mapping[str, tuple[int, _Draw]]] = {
    "cut": (4, _lasting(0.5, 6.0)),
    "half_frame": (3, _symbol),
    "stall": (2, _lasting(2.0, 8.0)),
    "no_ping": (1, _lasting(5.0, 20.0)),
    "shutdown": (2, _lasting(0.5, 3.0)),
    "drop": (5, _some(200)),
    "duplicate": (2, _some(50)),
    "delay": (2, _held(0.2, 2.0, 100)),
    "reorder": (2, _held(0.1, 1.0, 20)),
    "garbage": (2, _some(10)),
    "rest_status": (3, _refusal),
    "rest_timeout": (1, lambda random: {"delay_seconds": _between(random, 1, 3), "count": 1}),
    "rest_garbage": (1, lambda random: {"count": random.randint(1, 3)}),
    "delist": (1, lambda random: {"symbol": "ETHBTC"}),
    "clock_jump": (1, lambda random: {"seconds": random.randint(1, 120)}),
    "broker_unavailable": (3, _lasting(1.0, 8.0)),
    "broker_slow": (
        2,
        lambda random: {
            **_lasting(2.0, 8.0)(random),
            "delay_seconds": max(_between(random, 0.1, 0.5), 0.1),
        },
    ),
    "broker_duplicate": (2, lambda random: {"count": random.randint(1, 20)}),
    "broker_lost_ack": (1, lambda random: {"count": random.randint(1, 10)}),
    "broker_lost_reply": (2, lambda random: {"count": random.randint(1, 10)}),
    "disk_full": (1, _lasting(1.0, 5.0)),
    "kill": (3, lambda random: {"process": random.choice(KILLED)}),
}
_RELISTED_SECONDS: Final = 8.0  # after it left, for a collector that asks every few seconds


def draw_script(seed: int, seconds: float) -> Script:
    """Return the script of a seed: some faults of all kinds, over by about `seconds`."""
    random = Random(seed)
    kinds = random.choices(
        [*CATALOGUE],
        [weight for weight, _ in CATALOGUE.values()],
        k=random.randint(_FEWEST, _MOST),
    )
    injections: list[Injection] = []
    for what in kinds:
        parameters = CATALOGUE[what][1](random)
        length = parameters.get("seconds", 0.0) if what != "clock_jump" else 0.0
        latest = max(_FIRST_SECONDS, seconds - length)
        if what == "delist":
            latest = max(_FIRST_SECONDS, seconds - _RELISTED_SECONDS)
        at = _between(random, _FIRST_SECONDS, latest)
        injections.append(Injection(what, parameters, at))
        if what == "delist":
            injections.append(Injection("list", dict(parameters), at + _RELISTED_SECONDS))
    return Script(seed, _in_order(_without_crowds(injections)))


def draw_kills(seed: int, seconds: float, process: str) -> Script:
    """Return a script that only kills one process, at moments of the seed's choice."""
    random = Random(seed)
    at, injections = _between(random, _FIRST_SECONDS, seconds / 2), list[Injection]()
    while at <= seconds:
        injections.append(Injection("kill", {"process": process}, at))
        at = round(at + _BETWEEN_KILLS_SECONDS + _between(random, 0.0, seconds / 2), 1)
    return Script(seed, tuple(injections))


def _without_crowds(injections: Sequence[Injection]) -> list[Injection]:
    """Drop what comes before a kill of the same process, or a delisting, is over."""
    kept: list[Injection] = []
    seen: dict[str, float] = {}
    for each in _in_order(injections):
        key = (
            _BROKER_PROCESS
            if each.place == BROKER
            else str(each.parameters.get("process", each.what))
        )
        at, before = each.seconds or 0.0, seen.get(key, float("-inf"))
        is_crowded = each.what in ("kill", "delist", "list") or each.place == BROKER
        if is_crowded and at - before < _BETWEEN_KILLS_SECONDS:
            continue
        if each.what == "list" and "delist" not in {other.what for other in kept}:
            continue
        if each.place != BROKER:
            seen[key] = at
        kept.append(each)
    return kept


def _in_order(injections: Sequence[Injection]) -> tuple[Injection, ...]:
    return tuple(sorted(injections, key=lambda each: each.seconds or 0.0))
