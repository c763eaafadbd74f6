"""What Binance's REST endpoints accept and how they refuse: parameters, error codes, weights.

Pure: `rest.py` calls it. Sources: binance-protocol section 4, the exchange's errors.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sandbox.exchange.payloads import MICROSECOND, MILLISECOND

WEIGHTS = {
    "/api/v3/ping": 1,
    "/api/v3/time": 1,
    "/api/v3/exchangeInfo": 20,
    "/api/v3/trades": 25,
    "/api/v3/historicalTrades": 25,
    "/api/v3/aggTrades": 4,
    "/api/v3/klines": 2,
}
DEFAULT_LIMIT = 500
MAX_LIMIT = 1000
_SYMBOL = re.compile(r"[\w.\-]{1,50}")
_SYMBOL_RANGE = r"^[\w\-._&&[^a-z]]{1,50}$"
_NUMBER = re.compile(r"[0-9]{1,20}")
_NUMBER_RANGE = "^[0-9]{1,20}$"
_LOWER_CASE = re.compile(r"[a-z]")
_MAX_INT64 = 2**63 - 1
# A time with this many or more units is in microseconds: as milliseconds it is the year 5138.
_FIRST_MICROSECONDS = 10**14


class RestError(Exception):
    """A refused request: HTTP 400 with a code and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "msg": message}


def invalid_symbol() -> RestError:
    """Return the error for a symbol that does not exist."""
    return RestError(-1121, "Invalid symbol.")


def time_unit(header: str | None) -> int:
    """Return the unit that the header X-MBX-TIME-UNIT or the URL's timeUnit asks for.

    Raises:
        RestError: neither MILLISECOND nor MICROSECOND, upper or lower case.
    """
    if header is None or header in ("MILLISECOND", "millisecond"):
        return MILLISECOND
    if header in ("MICROSECOND", "microsecond"):
        return MICROSECOND
    message = "Invalid value for time unit; expected either MICROSECOND or MILLISECOND."
    raise RestError(-1194, message)


class Query:
    """The parameters of one request, read one by one.

    Args:
        items: (name, value) as sent.
        allowed: the endpoint's parameters.

    Raises:
        RestError: a parameter twice, empty, or unknown to the endpoint.
    """

    def __init__(self, items: Iterable[tuple[str, str]], allowed: frozenset[str]) -> None:
        self._values: dict[str, str] = {}
        for name, value in items:
            if name in self._values:
                raise RestError(-1101, "Duplicate values for a parameter detected.")
            self._values[name] = value
        known = len(self._values.keys() & allowed)
        if known != len(self._values):
            raise RestError(
                -1104,
                f"Not all sent parameters were read; read '{known}' parameter(s) "
                f"but was sent '{len(self._values)}'.",
            )
        for name, value in self._values.items():
            if not value and name != "symbol":
                raise RestError(-1105, f"Parameter '{name}' was empty.")

    def text(self, name: str) -> str | None:
        """Return an optional text."""
        return self._values.get(name)

    def mandatory(self, name: str) -> str:
        """Return a mandatory text."""
        value = self._values.get(name)
        if not value:
            raise RestError(
                -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            )
        return value

    def symbol(self, known: Mapping[str, object]) -> str:
        """Return the mandatory parameter `symbol`, which must be one of `known`."""
        symbol = checked_symbol(self.mandatory("symbol"))
        if symbol not in known:
            raise invalid_symbol()
        return symbol

    def integer(self, name: str) -> int | None:
        """Return an optional non-negative integer."""
        value = self._values.get(name)
        if value is None:
            return None
        if not value.isascii() or not _NUMBER.fullmatch(value):
            raise _illegal(name, _NUMBER_RANGE)
        if int(value) > _MAX_INT64:
            raise RestError(-1108, f"Parameter '{name}' overflowed.")
        return int(value)

    def limit(self) -> int:
        """Return the number of rows asked for, at most 1000 (more is cut, as documented)."""
        limit = self.integer("limit")
        if limit == 0:
            raise RestError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(DEFAULT_LIMIT if limit is None else limit, MAX_LIMIT)

    def time_us(self, name: str) -> int | None:
        """Return an optional time in microseconds; it may be sent in ms or us."""
        value = self.integer(name)
        if value is None:
            return None
        return value if value >= _FIRST_MICROSECONDS else value * 1000

    def last_time_us(self, name: str) -> int | None:
        """Return an inclusive end: the last microsecond of the unit it was sent in."""
        value = self.integer(name)
        if value is None:
            return None
        return value if value >= _FIRST_MICROSECONDS else value * 1000 + 999


def checked_symbol(symbol: str) -> str:
    """Return a symbol whose characters are legal."""
    if not _SYMBOL.fullmatch(symbol) or _LOWER_CASE.search(symbol):
        raise _illegal("symbol", _SYMBOL_RANGE)
    return symbol


def too_much_weight(limit: int | None) -> dict[str, object]:
    """Return the body of a 429."""
    return {
        "code": -1003,
        "msg": f"Too much request weight used; current limit is {limit} request weight per 1 "
        "MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.",
    }


def banned(until_ms: int) -> dict[str, object]:
    """Return the body of a 418."""
    return {
        "code": -1003,
        "msg": f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans.",
    }


def _illegal(name: str, legal: str) -> RestError:
    return RestError(
        -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    )
