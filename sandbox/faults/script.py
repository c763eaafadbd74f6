"""Fault scripts: YAML that says what goes wrong and when, read and checked before anything starts.

    seed: 7
    faults:
      - {at: 5, what: cut, seconds: 4}
      - {at: 12, what: drop, symbol: BTCUSDT, count: 3}
      - {at: {messages: 20000}, what: broker_unavailable, seconds: 6}
      - {at: 30, what: kill, process: collector}

`at` is seconds after the script's start, or the number of messages that the exchange has sent by
then. The same script does the same again: chance comes from `seed`, and a fault may have its own.
Pure, but for `read_script`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from sandbox.exchange import faults as exchange
from sandbox.faults.parameters import Kind, mistakes_in, number, one_of, whole

EXCHANGE: Final = "exchange"
BROKER: Final = "broker"
PROCESS: Final = "process"

MAX_SECONDS: Final = 86_400.0
MAX_SEED: Final = 2**31
AIRFLOW: Final = (
    *("airflow", "airflow-scheduler", "airflow-triggerer"),
    *("airflow-dag-processor", "airflow-api-server", "airflow-worker"),
)
# Not the exchange: it is the witness, and its account of what it sent is in its memory.
PROCESSES: Final = ("collector", "collector-2", "job", "pubsub", "gcs", "bigquery", *AIRFLOW)

_CALLS: Final = {
    "count": whole(1, 1_000_000),
    "seconds": number(exchange.MAX_SECONDS),
    "probability": number(1.0),
    "every": whole(1, 1_000_000),
}
_TARGET: Final = {"target": one_of("publish", "subscribe", "all")}
# The broker's own names of its kinds of fault (`sandbox.pubsub.faults`).
BROKER_NAMES: Final = {
    "broker_unavailable": "unavailable",
    "broker_slow": "slow",
    "broker_duplicate": "duplicate",
    "broker_lost_ack": "drop_ack",
    "broker_lost_reply": "lost_reply",
}
BROKER_KINDS: Final[Mapping[str, Kind]] = {
    "broker_unavailable": Kind("calls fail with UNAVAILABLE", {}, {**_TARGET, **_CALLS}),
    "broker_slow": Kind(
        "calls take longer", {"delay_seconds": number(60.0)}, {**_TARGET, **_CALLS}
    ),
    "broker_duplicate": Kind("messages are delivered twice", {}, _CALLS),
    "broker_lost_ack": Kind("acknowledgements are not carried out", {}, _CALLS),
    "broker_lost_reply": Kind("a publish is carried out and answered UNAVAILABLE", {}, _CALLS),
}
PROCESS_KINDS: Final[Mapping[str, Kind]] = {
    "kill": Kind(
        "SIGKILL; the supervisor starts it again", {"process": one_of(*PROCESSES)}
    ),
    "disk_full": Kind(
        "the process cannot write to its files", {"seconds": number(600.0)},
        {"process": one_of("collector", "collector-2")},
    ),
}  # fmt: skip
PLACES: Final = {EXCHANGE: exchange.KINDS, BROKER: BROKER_KINDS, PROCESS: PROCESS_KINDS}
KINDS: Final[Mapping[str, Kind]] = {**exchange.KINDS, **BROKER_KINDS, **PROCESS_KINDS}


class ScriptError(ValueError):
    """All mistakes in a script, one a line."""


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault of a script.

    Attributes:
        what: its kind.
        parameters: of the fault, as the script has them.
        seconds: when, in seconds after the start; None when `messages` says it.
        messages: when, in messages that the exchange has sent.
    """

    what: str
    parameters: Mapping[str, Any]
    seconds: float | None
    messages: int | None = None

    @property
    def place(self) -> str:
        """Who does it: exchange, broker or process."""
        return next(place for place, kinds in PLACES.items() if self.what in kinds)

    @property
    def document(self) -> dict[str, Any]:
        """The item as a script has it."""
        at = {"messages": self.messages} if self.seconds is None else self.seconds
        return {"at": at, "what": self.what, **self.parameters}


@dataclass(frozen=True, slots=True)
class Script:
    """A seed and what goes wrong, in the script's order."""

    seed: int
    injections: tuple[Injection, ...]

    @property
    def lasts_seconds(self) -> float:
        """Seconds until the last fault with a known beginning and end is over."""
        return max(
            (
                (each.seconds or 0.0)
                + (each.parameters.get("seconds") or 0.0) * (each.what not in exchange.MARKET_KINDS)
                + each.parameters.get("delay_seconds", 0.0)
                for each in self.injections
            ),
            default=0.0,
        )

    @property
    def text(self) -> str:
        """The script as YAML."""
        document = {"seed": self.seed, "faults": [each.document for each in self.injections]}
        text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        return text


def read_script(path: Path) -> Script:
    """Read a script.

    Raises:
        ScriptError: it can't be read, or names every mistake in it.
    """
    try:
        return parse_script(path.read_text("utf-8"))
    except OSError as error:
        raise ScriptError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScriptError(f"{path}: expected YAML in UTF-8") from None
    except ScriptError as error:
        lines = str(error).splitlines()
        raise ScriptError("\n".join(f"{path}: {line}" for line in lines)) from None


def parse_script(text: str) -> Script:
    """Parse and check a script.

    Raises:
        ScriptError: names every item that is wrong, its value and the remedy.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScriptError(" ".join(str(error).split())) from None
    if not isinstance(document, dict):
        raise ScriptError("expected a mapping with `faults`, a list, and optionally `seed`")
    mistakes = [
        f"{name}: a script has no such key; it takes seed and faults"
        for name in document
        if name not in ("seed", "faults")
    ]
    seed, items = document.get("seed", 0), document.get("faults")
    wanted = whole(0, MAX_SEED)
    if not wanted.is_good(seed):
        mistakes.append(f"seed: expected {wanted.expected}, was {seed!r}")
    if not isinstance(items, list):
        mistakes.append(f"faults: expected a list of faults, was {items!r}")
        items = []
    injections = [_injection(place, item, mistakes) for place, item in enumerate(items)]
    if mistakes:
        raise ScriptError("\n".join(mistakes))
    return Script(seed, tuple(each for each in injections if each is not None))


def _injection(place: int, item: object, mistakes: list[str]) -> Injection | None:
    """Read one item; add what is wrong with it to `mistakes`."""
    name = f"faults[{place}]"
    if not isinstance(item, dict) or "what" not in item:
        mistakes.append(f"{name}: expected a mapping with at, what and parameters, was {item!r}")
        return None
    what = item["what"]
    parameters = {str(key): value for key, value in item.items() if key not in ("at", "what")}
    found = mistakes_in(what, KINDS, parameters)
    at = item.get("at")
    seconds, messages = at, None
    if isinstance(at, dict) and [*at] == ["messages"]:
        seconds, messages = None, at["messages"]
        if not whole(0, 10**12).is_good(messages):
            found.append(f"at.messages: expected a whole number from 0, was {messages!r}")
    elif at is False or not (at == 0 or number(MAX_SECONDS).is_good(at)):
        found.append(
            f"at: expected seconds from 0 to {MAX_SECONDS:g}, or {{messages: N}}, was {at!r}"
        )
    mistakes += [f"{name} ({what}): {mistake}" for mistake in found]
    return None if found else Injection(what, parameters, seconds, messages)
