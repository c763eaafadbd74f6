"""Rejected items: what could not be used, with its bytes and the reason.

A rejected item is an item like any other: it is loaded into raw.rejections and never dropped. The
reasons are a closed set; docs/errors.md explains each and a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

MAX_PAYLOAD_BYTES: Final = 1_048_576
MAX_VALUE_CHARS: Final = 256


class Reason(StrEnum):
    """Why an item could not be used."""

    NOT_A_FRAME = "not_a_frame"
    CORRUPT_FRAME = "corrupt_frame"
    FRAME_TOO_LARGE = "frame_too_large"
    HEADER_INVALID = "header_invalid"
    COUNT_MISMATCH = "count_mismatch"
    TOTALS_MISMATCH = "totals_mismatch"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_ENVELOPE = "not_an_envelope"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_KEY = "missing_key"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    NOT_A_DECIMAL = "not_a_decimal"
    WRONG_EVENT = "wrong_event"
    SYMBOL_MISMATCH = "symbol_mismatch"
    UNKNOWN_MESSAGE = "unknown_message"


class Rejected(ValueError):
    """A line or frame that can't be used.

    Attributes:
        reason: why, from the closed set.
        field: name of the offending key as Binance spells it, where there is one.
        value: the offending value as text, cut to 256 characters, where there is one.
        detail: a sentence for people.
    """

    def __init__(
        self, reason: Reason, detail: str, *, field: str | None = None, value: object = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field
        self.value = None if value is None else printable(str(value))[:MAX_VALUE_CHARS]


def printable(text: str) -> str:
    """Return `text` with NULs and lone surrogates escaped, so that every store takes it."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
