"""What a fault may be told: parameters with their ranges, checked alike wherever faults are read.

Pure. `sandbox.exchange.faults` and `sandbox.faults.script` say which kinds there are.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value: what is expected, for people, and whether a value is that."""

    expected: str
    is_good: Callable[[object], bool]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: what it does and which parameters it takes."""

    summary: str
    required: Mapping[str, Parameter] = field(default_factory=dict)
    optional: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """All parameters by name."""
        return {**self.required, **self.optional}


def whole(low: int, high: int) -> Parameter:
    """Return a parameter that is a whole number in a range, both ends included."""

    def is_good(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Parameter(f"a whole number from {low} to {high}", is_good)


def number(high: float) -> Parameter:
    """Return a parameter that is a number above 0 and at most `high`."""

    def is_good(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= high

    return Parameter(f"a number above 0, at most {high:g}", is_good)


def one_of(*choices: object) -> Parameter:
    """Return a parameter that is one of a few values."""
    shown = ", ".join(map(str, choices))
    return Parameter(
        f"one of {shown}", lambda value: not isinstance(value, bool) and value in choices
    )


def name_like(example: str) -> Parameter:
    """Return a parameter that is a name of letters and digits."""
    return Parameter(
        f"a name like {example}", lambda value: isinstance(value, str) and value.isalnum()
    )


def mistakes_in(what: object, kinds: Mapping[str, Kind], given: Mapping[str, object]) -> list[str]:
    """Return a sentence for each mistake: unknown kind, unknown, missing or wrong parameter.

    Args:
        what: the name of the kind.
        kinds: the kinds there are.
        given: the parameters.
    """
    kind = kinds.get(what) if isinstance(what, str) else None
    if kind is None:
        return [f"what: there is no fault {what!r}{_nearest(str(what), kinds)}"]
    parameters = kind.parameters
    mistakes = [
        f"{name}: {what} has no such parameter, was {value!r}{_nearest(name, parameters)}"
        for name, value in given.items()
        if name not in parameters
    ]
    mistakes += [
        f"{name}: {what} needs it; give {parameter.expected}"
        for name, parameter in kind.required.items()
        if name not in given
    ]
    mistakes += [
        f"{name}: expected {parameters[name].expected}, was {value!r}"
        for name, value in given.items()
        if name in parameters and not parameters[name].is_good(value)
    ]
    return mistakes


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; it takes {', '.join(known)}" if known else ""
