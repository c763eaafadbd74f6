"""Control messages of a websocket connection: SUBSCRIBE and its four siblings.

Pure: `Session.handle` takes a text and returns the reply with what changed; `server.py` does the
rest. Replies and error texts are those of Binance's document "Live Subscribing/Unsubscribing";
where it is silent the choice is in decision 004.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_TEXT_ID = re.compile(r"[A-Za-z0-9]{1,36}")
_INT64 = range(-(2**63), 2**63)
_TOO_MANY_PARAMETERS = "Invalid request: too many parameters"
_NO_PROPERTY_NAME = "Invalid request: property name must be a string"


class RequestError(Exception):
    """A request that is answered with an error frame."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.frame: dict[str, object] = {"code": code, "msg": message}


class TooManyStreamsError(Exception):
    """More subscriptions than a connection may have; the connection must be closed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The reply to send and the streams that were added and removed."""

    reply: bytes
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Session:
    """The subscriptions and properties of one connection.

    Args:
        combined: whether payloads come in an envelope at first (true on /stream).
        max_streams: how many streams one connection may have; None for no limit.
    """

    def __init__(self, combined: bool, max_streams: int | None) -> None:
        self.combined = combined
        self._max_streams = max_streams
        self._streams: dict[str, None] = {}

    @property
    def streams(self) -> tuple[str, ...]:
        """The subscribed streams in order of subscription."""
        return tuple(self._streams)

    def subscribe(self, names: Iterable[str]) -> tuple[str, ...]:
        """Add streams, returning the new ones.

        Raises:
            TooManyStreamsError: the limit would be passed; nothing was added.
        """
        added = tuple(dict.fromkeys(name for name in names if name not in self._streams))
        if self._max_streams is not None and len(self._streams) + len(added) > self._max_streams:
            raise TooManyStreamsError(f"more than {self._max_streams} streams on one connection")
        self._streams.update(dict.fromkeys(added))
        return added

    def handle(self, text: str) -> Outcome:
        """Carry out one control message.

        Raises:
            TooManyStreamsError: a SUBSCRIBE passes the limit.
        """
        try:
            request = _parse(text)
            request_id = _request_id(request)
            return self._dispatch(request, request_id, text)
        except RequestError as error:
            return Outcome(_json(error.frame))

    def _dispatch(self, request: dict[str, object], request_id: object, text: str) -> Outcome:
        method, params = request["method"], request.get("params", [])
        if not isinstance(params, list):
            raise RequestError(2, "Invalid request: params must be a list")
        if method == "SUBSCRIBE":
            added = self.subscribe(_stream_names(params, request, text))
            return Outcome(_result(None, request_id), added=added)
        if method == "UNSUBSCRIBE":
            names = _stream_names(params, request, text)
            removed = tuple(dict.fromkeys(name for name in names if name in self._streams))
            for name in removed:
                del self._streams[name]
            return Outcome(_result(None, request_id), removed=removed)
        if method == "LIST_SUBSCRIPTIONS":
            if params:
                raise RequestError(2, _TOO_MANY_PARAMETERS)
            return Outcome(_result(list(self._streams), request_id))
        return Outcome(_result(self._property(str(method), params, request_id), request_id))

    def _property(self, method: str, params: list[object], request_id: object) -> bool | None:
        expected = 2 if method == "SET_PROPERTY" else 1
        if len(params) > expected:
            raise RequestError(2, _TOO_MANY_PARAMETERS)
        if not params or not isinstance(params[0], str):
            raise RequestError(2, _NO_PROPERTY_NAME)
        if params[0] != "combined":
            error = RequestError(0, "Unknown property")
            error.frame["id"] = request_id
            raise error
        if method == "GET_PROPERTY":
            return self.combined
        value = params[1] if len(params) == expected else None
        if not isinstance(value, bool):
            raise RequestError(1, "Invalid value type: expected Boolean")
        self.combined = value
        return None


def _parse(text: str) -> dict[str, object]:
    try:
        request = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        message = f"Invalid JSON: expected value at line {line} column {column}"
        raise RequestError(3, message) from None
    if not isinstance(request, dict) or "method" not in request:
        raise _missing("method", text)
    if request["method"] not in _METHODS:
        expected = ", ".join(f"`{method}`" for method in _METHODS)
        column = text.find(str(request["method"])) + len(str(request["method"])) + 1
        raise RequestError(
            2,
            f"Invalid request: unknown variant `{request['method']}`, "
            f"expected one of {expected} at line 1 column {column}",
        )
    return request


def _request_id(request: dict[str, object]) -> object:
    request_id = request.get("id", "")
    is_number = isinstance(request_id, int) and not isinstance(request_id, bool)
    if (
        request_id is None
        or (is_number and request_id in _INT64)
        or (isinstance(request_id, str) and _TEXT_ID.fullmatch(request_id))
    ):
        return request_id
    raise RequestError(2, "Invalid request: request ID must be an unsigned integer")


def _stream_names(params: list[object], request: dict[str, object], text: str) -> list[str]:
    if "params" not in request:
        raise _missing("params", text)
    names = [name for name in params if isinstance(name, str)]
    if len(names) != len(params):
        raise RequestError(2, "Invalid request: stream name must be a string")
    return names


def _missing(name: str, text: str) -> RequestError:
    return RequestError(
        2, f"Invalid request: missing field `{name}` at line 1 column {len(text.rstrip())}"
    )


def _result(result: object, request_id: object) -> bytes:
    return _json({"result": result, "id": request_id})


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
