"""Splicing: receive times are put in front of messages, a frame at a time.

Python joins the messages with a line start whose time is zeros; numpy writes the digits of all
times into place. Formatting line by line costs three times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]

LINE_START: Final = b'{"received_at":'
TIME_DIGITS: Final = 16  # µs since 1970 from 2001 to 2286
_UNSTAMPED: Final = LINE_START + b"0" * TIME_DIGITS
# The four digits of each number below 10,000, as a word of four bytes.
_FOUR_DIGITS: Final = np.array([b"%04d" % number for number in range(10_000)]).view("<u4")


def join_messages(messages: Sequence[bytes]) -> bytearray:
    """Return lines `{"received_at":0000000000000000{"stream":…}`, to be stamped.

    Args:
        messages: messages in one line each; at least one.
    """
    body = bytearray(b"\n" + _UNSTAMPED).join(messages)
    body[:0] = _UNSTAMPED
    body += b"\n"
    return body


def stamp(body: bytearray, times: Times) -> bytes:
    """Return the joined messages as lines `{"received_at":1732291201000000,"stream":…}`.

    Args:
        body: what `join_messages` made of messages that begin with `{`.
        times: receive time of each, µs since 1970.
    """
    array = np.frombuffer(body, np.uint8)
    starts = np.zeros(len(times), np.int64)
    starts[1:] = np.flatnonzero(array == ord("\n"))[:-1] + 1
    starts += len(LINE_START)
    words = np.ndarray((len(array) - 3,), "<u4", array, 0, (1,))  # the word at each byte
    for place in range(0, TIME_DIGITS, 4):
        words[starts + place] = _FOUR_DIGITS[times // 10 ** (TIME_DIGITS - 4 - place) % 10_000]
    array[starts + TIME_DIGITS] = ord(",")
    return bytes(body)
