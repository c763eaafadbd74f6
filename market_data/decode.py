"""Decode one line to a record, with every check spelt out.

This is the definition of what is accepted. `market_data.batches` decodes whole frames faster and
must agree with it; whatever it finds unusual it hands to `decode_line`.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast

from market_data.channels import symbol_of
from market_data.layouts import (
    EARLIEST_US,
    LATEST_US,
    LAYOUTS,
    MAX_ID,
    MAX_TEXT,
    MICROSECONDS_FROM,
    Field,
    Kind,
    Layout,
)
from market_data.messages import classify
from market_data.numbers import fits_numeric, parse_decimal, quote_quantity
from market_data.records import MarketRecord
from market_data.rejections import Reason, Rejected, printable

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Origin:
    """What all lines of a frame share: the columns that no payload carries."""

    market: str
    source: str
    collector: str
    frame_id: str
    loaded_at: datetime


@dataclass(frozen=True, slots=True)
class Ignored:
    """A line that is archived and counted and becomes no row, by a named decision."""

    decision: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line taken apart: the envelope's parts, the parsed payload, and the envelope itself."""

    received_at: datetime
    stream: str | None
    data: Any
    envelope: dict[str, Any]


def from_microseconds(value: int) -> datetime:
    """Return the UTC datetime of a count of µs since 1970, exactly."""
    return _EPOCH + timedelta(microseconds=value)


def to_microseconds(value: datetime) -> int:
    """Return the count of µs since 1970 of an aware datetime, exactly."""
    return (value - _EPOCH) // timedelta(microseconds=1)


def decode_line(line: bytes, channel: str, origin: Origin) -> MarketRecord | Ignored:
    """Decode one line of a frame of `channel`.

    Args:
        line: the line's bytes, without the newline.
        channel: the channel that the frame's header names.
        origin: the frame's part of the columns.

    Returns:
        The record, or Ignored for messages that are archived only.

    Raises:
        Rejected: with the reason, the offending key and its value.
    """
    parsed = parse_line(line)
    found, decision = classify(parsed.stream, parsed.data)
    layout = LAYOUTS.get(found)
    if layout is None:
        return Ignored(decision)
    if found != channel:
        raise Rejected(
            Reason.WRONG_EVENT,
            f"a message of the channel {found} in a frame of the channel {channel}",
            field="stream",
            value=parsed.stream,
        )
    return _record(parsed, layout, origin)


def parse_line(line: bytes) -> Line:
    """Take a line apart into receive time, stream name and payload.

    Raises:
        Rejected: the line is no UTF-8, no JSON, repeats a key or is no envelope of ours.
    """
    envelope = _json(line)
    if not isinstance(envelope, dict):
        raise Rejected(Reason.NOT_AN_ENVELOPE, "expected a JSON object", value=envelope)
    received_at = from_microseconds(_time(envelope.get("received_at"), "received_at", is_ours=True))
    if "base64" in envelope:
        message = _json(_unwrap(envelope["base64"]))
        if isinstance(message, dict) and message.keys() == {"stream", "data"}:
            return Line(received_at, _stream(message["stream"]), message["data"], envelope)
        return Line(received_at, None, message, envelope)
    if "data" not in envelope:
        raise Rejected(Reason.NOT_AN_ENVELOPE, "the line has no data", field="data")
    stream = _stream(envelope["stream"]) if "stream" in envelope else None
    return Line(received_at, stream, envelope["data"], envelope)


def check_symbol(symbol: object, stream: str | None, key: str = "s") -> str:
    """Return a payload's symbol, which stands at `key`, if it is one and belongs to the stream.

    Raises:
        Rejected: no text, empty, too long, unprintable, or not the stream's symbol.
    """
    if not isinstance(symbol, str):
        raise Rejected(
            Reason.MISSING_KEY if symbol is None else Reason.WRONG_TYPE,
            "expected a symbol such as BTCUSDT",
            field=key,
            value=symbol,
        )
    if not _is_name(symbol):
        raise Rejected(
            Reason.OUT_OF_RANGE, "expected a symbol such as BTCUSDT", field=key, value=symbol
        )
    if stream is not None and symbol_of(stream) != symbol.upper():
        raise Rejected(Reason.SYMBOL_MISMATCH, f"the stream is {stream}", field=key, value=symbol)
    return symbol


def check_event(event: object, layout: Layout) -> None:
    """Check a payload's `e` against the layout's.

    Raises:
        Rejected: it is another event's payload.
    """
    if layout.event is not None and event != layout.event:
        reason = Reason.MISSING_KEY if event is None else Reason.WRONG_EVENT
        raise Rejected(reason, f"expected {layout.event}", field="e", value=event)


def _record(parsed: Line, layout: Layout, origin: Origin) -> MarketRecord | Ignored:
    payload = parsed.data
    if not isinstance(payload, dict):
        raise Rejected(Reason.WRONG_TYPE, "expected a JSON object", field="data", value=payload)
    check_event(payload.get("e"), layout)
    symbol = check_symbol(payload.get(layout.symbol_key), parsed.stream, layout.symbol_key)
    if layout.prepare is not None:
        payload = layout.prepare(payload)
    inner = payload if layout.nested is None else payload.get(layout.nested)
    if not isinstance(inner, dict):
        raise Rejected(
            Reason.MISSING_KEY if inner is None else Reason.WRONG_TYPE,
            "expected a JSON object",
            field=layout.nested,
            value=inner,
        )
    if _is_invalidated(inner, layout):
        return Ignored("invalidated_agg_trade")
    values = {field.column: _value(inner, field) for field in layout.fields}
    values |= {field.column: _value(payload, field) for field in layout.outer_fields}
    values |= {field.column: _value(parsed.envelope, field) for field in layout.line_fields}
    if layout.quantity_columns is not None:
        values["quote_quantity"] = _quote_quantity(values["price"], values["quantity"])
    return cast(
        MarketRecord,
        layout.table.record(
            market=origin.market,
            symbol=symbol,
            received_at=parsed.received_at,
            source=origin.source,
            collector=origin.collector,
            frame_id=origin.frame_id,
            loaded_at=origin.loaded_at,
            **values,
        ),
    )


def _is_invalidated(payload: dict[str, Any], layout: Layout) -> bool:
    """Tell whether Binance has marked an aggregate trade as invalid (p=0, q=0, f=l=-1).

    Source: binance-protocol, section 4, data repairs of 2022-04-12.
    """
    return layout.channel == "aggTrade" and payload.get("f") == -1 and payload.get("l") == -1


def _quote_quantity(price: Decimal, quantity: Decimal) -> Decimal:
    product = quote_quantity(price, quantity)
    if not fits_numeric(product):
        raise Rejected(
            Reason.OUT_OF_RANGE, "price x quantity exceeds NUMERIC", field="p x q", value=product
        )
    return product


def _value(payload: dict[str, Any], field: Field) -> Any:
    if field.key not in payload:
        if field.is_optional:
            return None
        raise Rejected(Reason.MISSING_KEY, f"expected {field.kind.value}", field=field.key)
    return _CHECKS[field.kind](payload[field.key], field.key)


def _id(value: object, key: str, lowest: int = 0) -> int:
    if type(value) is not int:
        raise Rejected(Reason.WRONG_TYPE, "expected an integer", field=key, value=value)
    if not lowest <= value <= MAX_ID:
        raise Rejected(Reason.OUT_OF_RANGE, f"expected {lowest} to 2^63-1", field=key, value=value)
    return value


def _time(value: object, key: str, *, is_ours: bool = False) -> int:
    """Return µs; times of the exchange come in ms or µs and are told apart by magnitude."""
    if value is None:
        raise Rejected(Reason.MISSING_KEY, "expected a time", field=key)
    count = _id(value, key)
    if not is_ours and count < MICROSECONDS_FROM:
        count *= 1000
    if not EARLIEST_US <= count < LATEST_US:
        raise Rejected(Reason.OUT_OF_RANGE, f"expected {Kind.TIME.value}", field=key, value=value)
    return count


def _time_at(value: object, key: str) -> datetime:
    return from_microseconds(_time(value, key))


def _decimal(value: object, key: str) -> Decimal:
    if not isinstance(value, str):
        raise Rejected(Reason.WRONG_TYPE, "expected a decimal string", field=key, value=value)
    try:
        return parse_decimal(value)
    except ValueError as error:
        raise Rejected(Reason.NOT_A_DECIMAL, str(error), field=key, value=value) from None


def _positive(value: object, key: str) -> Decimal:
    number = _decimal(value, key)
    if number <= 0:
        raise Rejected(Reason.OUT_OF_RANGE, "expected more than 0", field=key, value=value)
    return number


def _flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise Rejected(Reason.WRONG_TYPE, "expected true or false", field=key, value=value)
    return value


def _text(value: object, key: str) -> str:
    """Return a short printable ASCII text such as a kline interval.

    Raises:
        Rejected: it is none.
    """
    if not isinstance(value, str):
        raise Rejected(Reason.WRONG_TYPE, "expected a text", field=key, value=value)
    if not 0 < len(value) <= MAX_TEXT or not value.isascii() or not value.isprintable():
        raise Rejected(Reason.OUT_OF_RANGE, "expected a short text", field=key, value=value)
    return value


def _name(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise Rejected(Reason.WRONG_TYPE, "expected a name", field=key, value=value)
    if not _is_name(value):
        raise Rejected(Reason.OUT_OF_RANGE, "expected a short name", field=key, value=value)
    return value


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and text.isprintable() and " " not in text


def _words(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise Rejected(Reason.WRONG_TYPE, "expected a text", field=key, value=value)
    return printable(value)


_CHECKS: Final[dict[Kind, Callable[[object, str], Any]]] = {
    Kind.ID: _id,
    Kind.ID_OR_NONE: functools.partial(_id, lowest=-1),
    Kind.TIME: _time_at,
    Kind.POSITIVE: _positive,
    Kind.DECIMAL: _decimal,
    Kind.FLAG: _flag,
    Kind.TEXT: _text,
    Kind.NAME: _name,
    Kind.WORDS: _words,
}


def _stream(value: object) -> str:
    if not isinstance(value, str):
        raise Rejected(Reason.WRONG_TYPE, "expected a stream name", field="stream", value=value)
    return value


def _unwrap(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True)  # type: ignore[arg-type] # checked by it
    except (TypeError, ValueError, binascii.Error) as error:
        raise Rejected(Reason.NOT_AN_ENVELOPE, str(error), field="base64", value=value) from None


def _json(data: bytes) -> Any:
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_float=Decimal,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise Rejected(
            Reason.NOT_UTF8, f"byte {error.start} is no UTF-8", value=data[error.start :][:16]
        ) from None
    except Rejected:
        raise
    except (ValueError, ArithmeticError, RecursionError) as error:  # 1e9999999999999999999
        raise Rejected(Reason.NOT_JSON, str(error)) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        key = next(key for key in keys if keys.count(key) > 1)
        raise Rejected(Reason.DUPLICATE_KEY, "the key stands there twice", field=key)
    return members


def _no_constant(name: str) -> Any:
    raise Rejected(Reason.NOT_JSON, f"{name} is no JSON")
