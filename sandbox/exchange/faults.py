"""What the exchange does wrong on purpose, decided purely.

`Hub` asks for every market-data message, `RestApi` for every request, `WebsocketApi` for every
handshake and ping; `fault_api.py` adds and removes. Time is an argument (`wall` seconds that never
run backwards) and chance comes from each fault's own seed, so a run can be repeated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

from sandbox.exchange.frames import BINARY, TEXT
from sandbox.exchange.listings import STATUSES
from sandbox.faults.parameters import Kind, Parameter, mistakes_in, name_like, number, one_of, whole

REST_STATUSES: Final = (403, 418, 429, 500, 502, 503, 504)
MAX_SECONDS: Final = 3600.0
_MAX_SHOWN_IDS: Final = 1000
# A trade's id or an aggregate's; prices and update ids of other payloads do not look like it.
_ID: Final = re.compile(rb'"[ta]":([0-9]+)')

_SECONDS: Final = number(MAX_SECONDS)
_COUNT: Final = whole(1, 10_000_000)
_CONNECTIONS: Final = whole(1, 1000)
_CHANCE: Final[Mapping[str, Parameter]] = {
    "count": _COUNT,
    "seconds": _SECONDS,
    "probability": number(1.0),
    "every": _COUNT,
    "seed": whole(0, 2**63),
}
_MESSAGES: Final[Mapping[str, Parameter]] = {
    "symbol": name_like("BTCUSDT"),
    "channel": Parameter("a stream's suffix like trade, or *", lambda value: bool(_text(value))),
    "after": whole(0, 10_000_000),
    "from_id": whole(0, 2**63),
    "connections": _CONNECTIONS,
    **_CHANCE,
}
_REST: Final[Mapping[str, Parameter]] = {
    "path": Parameter("an endpoint like historicalTrades", lambda value: bool(_text(value))),
    **_CHANCE,
}
_HELD: Final = {"delay_seconds": number(60.0)}
MESSAGE_KINDS: Final[Mapping[str, Kind]] = {
    "drop": Kind("messages are not sent; REST has their trades", {}, _MESSAGES),
    "duplicate": Kind("messages are sent twice", {}, _MESSAGES),
    "delay": Kind("messages of a stream come late, in their order", _HELD, _MESSAGES),
    "reorder": Kind("messages are overtaken by later ones", _HELD, _MESSAGES),
    "garbage": Kind("something else is sent instead of a message", {}, _MESSAGES),
    "half_frame": Kind("the connection ends in the middle of a message", {}, _MESSAGES),
}
CONNECTION_KINDS: Final[Mapping[str, Kind]] = {
    "cut": Kind(
        "connections end without a handshake; new ones are refused for `seconds`",
        {},
        {"connections": _CONNECTIONS, "seconds": _SECONDS},
    ),
    "stall": Kind(
        "connections stay open and carry nothing, no pings either",
        {"seconds": _SECONDS},
        {"connections": _CONNECTIONS},
    ),
    "no_ping": Kind("no pings are sent", {"seconds": _SECONDS}),
    "shutdown": Kind(
        "serverShutdown is announced; `seconds` later these connections are closed",
        {"seconds": _SECONDS},
    ),
}
REST_KINDS: Final[Mapping[str, Kind]] = {
    "rest_status": Kind(
        "requests are refused",
        {"status": one_of(*REST_STATUSES)},
        {"retry_after": whole(0, 3600), **_REST},
    ),
    "rest_timeout": Kind(
        "requests are not answered; the connection ends after `delay_seconds`", _HELD, _REST
    ),
    "rest_garbage": Kind("requests are answered with something that is no answer", {}, _REST),
}
MARKET_KINDS: Final[Mapping[str, Kind]] = {
    "list": Kind(
        "a symbol is listed, or gets another status",
        {"symbol": name_like("BTCUSDT")},
        {"status": one_of(*STATUSES)},
    ),
    "delist": Kind("a symbol leaves exchangeInfo", {"symbol": name_like("BTCUSDT")}),
    "clock_jump": Kind("the exchange's clock jumps ahead", {"seconds": _SECONDS}),
}
_INSTANT: Final = frozenset(MARKET_KINDS)  # over as soon as they have happened
KINDS: Final[Mapping[str, Kind]] = {
    **MESSAGE_KINDS,
    **CONNECTION_KINDS,
    **REST_KINDS,
    **MARKET_KINDS,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `KINDS` says which parameters a kind takes.

    A fault of messages or requests ends after striking `count` times or after `seconds`, whichever
    comes first; with neither it stays until it is removed.

    Attributes:
        what: the kind.
        symbol: whose messages, or which one is listed; None for all.
        channel: suffix of the streams, `*` for all.
        after: matching messages that pass first.
        from_id: messages whose trade or aggregate id is lower pass.
        connections: strike the so many oldest only; None for all.
        count: strike this often; a message counts once, however many connections it goes to.
        seconds: how long it lasts.
        probability: of striking, at each opportunity.
        every: strike at each n-th opportunity only.
        seed: of the generator behind chance.
        delay_seconds: how long messages or requests are held.
        status: HTTP status of `rest_status`, or the trading status for `list`.
        retry_after: seconds in the header Retry-After.
        path: end of the endpoint's path; None for all.
    """

    what: str
    symbol: str | None = None
    channel: str = "trade"
    after: int = 0
    from_id: int | None = None
    connections: int | None = None
    count: int | None = None
    seconds: float | None = None
    probability: float = 1.0
    every: int = 1
    seed: int = 0
    delay_seconds: float = 0.0
    status: int | str | None = None
    retry_after: int | None = None
    path: str | None = None


class FaultError(ValueError):
    """All mistakes in the description of a fault."""


def parse_fault(body: object) -> Fault:
    """Return the fault that a JSON object describes.

    Raises:
        FaultError: names every mistake, its value and the remedy.
    """
    if not isinstance(body, Mapping) or "what" not in body:
        raise FaultError('expected a JSON object with at least "what"')
    given = {str(name): value for name, value in body.items() if name != "what"}
    if mistakes := mistakes_in(body["what"], KINDS, given):
        raise FaultError("; ".join(mistakes))
    parameters: dict[str, Any] = given
    if body["what"] == "half_frame":
        parameters.setdefault("count", 1)
    return Fault(what=body["what"], **parameters)


class Passed(NamedTuple):
    """A message to send: after how many seconds, its bytes, opcode, and what else happens.

    `is_in_order`: later messages of its stream wait for it. `is_half`: the connection ends in it.
    """

    delay_seconds: float
    message: bytes
    opcode: int
    is_in_order: bool = False
    is_half: bool = False


@dataclass(slots=True)
class _Active:
    fault: Fault
    ends_at: float | None
    random: Random
    opportunities: int = 0
    struck: int = 0
    ids: list[int] = field(default_factory=list)
    event: int = -1  # the last one decided on
    is_struck: bool = False
    is_removed: bool = False

    def is_over(self, now: float) -> bool:
        count = self.fault.count
        return (
            self.is_removed
            or (count is not None and self.struck >= count)
            or (self.ends_at is not None and now >= self.ends_at)
        )

    def strikes(self) -> bool:
        """Count an opportunity and decide."""
        self.opportunities += 1
        turn = self.opportunities - self.fault.after
        if turn <= 0 or turn % self.fault.every or self.random.random() >= self.fault.probability:
            return False
        self.struck += 1
        return True


class FaultPlan:
    """The faults in force, and what became of those that are over.

    Args:
        wall: seconds that never run backwards.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._all: dict[int, _Active] = {}
        self._messages: list[_Active] = []
        self._others: list[_Active] = []

    @property
    def strikes_messages(self) -> bool:
        """Whether any message may be struck; the hot path asks nothing else."""
        return bool(self._messages)

    def add(self, fault: Fault, struck: int = 0) -> int:
        """Put a fault in force; return its id.

        Args:
            fault: what goes wrong.
            struck: connections that it has struck already.
        """
        ends_at = None if fault.seconds is None else self._wall() + fault.seconds
        if fault.what in _INSTANT or (fault.what == "cut" and fault.seconds is None):
            ends_at = self._wall()
        active = _Active(fault, ends_at, Random(fault.seed), struck=struck)
        self._all[len(self._all) + 1] = active
        (self._messages if fault.what in MESSAGE_KINDS else self._others).append(active)
        return len(self._all)

    def remove(self, fault_id: int) -> bool:
        """End one fault; False when none of that id is in force."""
        active = self._all.get(fault_id)
        if active is None or active.is_over(self._wall()):
            return False
        active.is_removed = True
        self._drop_ended()
        return True

    def clear(self) -> None:
        """End all faults."""
        for each in [*self._all]:
            self.remove(each)

    def describe(self) -> list[dict[str, object]]:
        """Return every fault there ever was: what was asked for, how often it struck, which ids."""
        now = self._wall()
        return [
            {
                "id": fault_id,
                **parameters_of(active.fault),
                "struck": active.struck,
                "ids": active.ids,
                "is_over": active.is_over(now),
            }
            for fault_id, active in self._all.items()
        ]

    def passed(
        self, event: int, rank: int, stream: str, message: bytes, opcode: int
    ) -> list[Passed]:
        """Return what is sent instead of a message: nothing, itself, or something else.

        Args:
            event: number of the event; it is struck on all connections or on none.
            rank: place of the connection among those that get the event, oldest first.
            stream: the stream's name.
            message: what was meant to be sent.
            opcode: how.
        """
        for active in self._messages:
            if self._is_struck(active, event, stream, message):
                connections = active.fault.connections
                if connections is None or rank < connections:
                    return list(_instead(active, message, opcode))
        return [Passed(0.0, message, opcode)]

    def of_request(self, path: str) -> Fault | None:
        """Return the fault that strikes a REST request, if one does."""
        for active in self._in_force(REST_KINDS):
            wanted = active.fault.path
            if (wanted is None or path.endswith(wanted)) and active.strikes():
                return active.fault
        return None

    def refuses_connections(self) -> bool:
        """Whether a handshake fails now."""
        return any(active.fault.seconds for active in self._in_force(("cut",)))

    def withholds_pings(self) -> bool:
        """Whether no pings are sent now."""
        return any(self._in_force(("no_ping",)))

    def _in_force(self, kinds: Mapping[str, Kind] | tuple[str, ...]) -> Iterator[_Active]:
        if not self._others:
            return
        self._drop_ended()
        yield from [active for active in self._others if active.fault.what in kinds]

    def _is_struck(self, active: _Active, event: int, stream: str, message: bytes) -> bool:
        if active.event == event:
            return active.is_struck
        active.event, active.is_struck = event, False
        if active.is_over(self._wall()):
            self._drop_ended()
        elif _matches(active.fault, stream, message) and active.strikes():
            active.is_struck = True
            if (found := _ID.search(message)) and len(active.ids) < _MAX_SHOWN_IDS:
                active.ids.append(int(found[1]))
        return active.is_struck

    def _drop_ended(self) -> None:
        now = self._wall()
        self._messages = [active for active in self._messages if not active.is_over(now)]
        self._others = [active for active in self._others if not active.is_over(now)]


def parameters_of(fault: Fault) -> dict[str, object]:
    """Return what was said about a fault: its kind and the parameters that are not the default."""
    plain = Fault(fault.what)
    return {
        name: getattr(fault, name)
        for name in Fault.__dataclass_fields__
        if name == "what" or getattr(fault, name) != getattr(plain, name)
    }


def garbage(random: Random, message: bytes) -> tuple[bytes, int]:
    """Return what is sent instead of a message, and its opcode.

    What is no UTF-8 goes out as binary: a text frame would oblige the client to fail.
    """
    choice = random.randrange(7)
    if choice == 0:
        return message[: random.randrange(1, max(2, len(message)))], BINARY
    if choice == 1:
        return bytes(random.getrandbits(8) for _ in range(random.randrange(1, 300))), BINARY
    if choice == 2:
        return b"\x00" * random.randrange(1, 200), TEXT
    if choice == 3:
        return re.sub(rb'"p":"[^"]*"', b'"p":1e400', message), TEXT
    if choice == 4:
        return re.sub(rb'"([ta])":[0-9]+', rb'"\1":"twelve"', message), TEXT
    if choice == 5:
        return b"[" * random.randrange(1, 2000), TEXT
    return b"<html><body>502 Bad Gateway</body></html>\n", TEXT


def wrong_answer(random: Random) -> bytes:
    """Return the body of a REST answer that is none."""
    return random.choice(
        (
            b'[{"id":1,"price":"1.00","qty":',
            b"<html><body>upstream connect error</body></html>",
            b"",
            b"{}",
            json.dumps([{"id": "twelve", "price": 1.5, "qty": None}]).encode(),
            b"\xff\xfe[]",
        )
    )


def _instead(active: _Active, message: bytes, opcode: int) -> Iterator[Passed]:
    fault = active.fault
    if fault.what == "duplicate":
        yield Passed(0.0, message, opcode)
        yield Passed(0.0, message, opcode)
    elif fault.what in ("delay", "reorder"):
        yield Passed(fault.delay_seconds, message, opcode, is_in_order=fault.what == "delay")
    elif fault.what == "garbage":
        yield Passed(0.0, *garbage(active.random, message))
    elif fault.what == "half_frame":
        yield Passed(0.0, message, opcode, is_half=True)


def _matches(fault: Fault, stream: str, message: bytes) -> bool:
    symbol, _, channel = stream.partition("@")
    if fault.symbol is not None and symbol != fault.symbol.lower():
        return False
    if fault.channel not in ("*", channel):
        return False
    if fault.from_id is None:
        return True
    found = _ID.search(message)
    return found is not None and int(found[1]) >= fault.from_id


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
