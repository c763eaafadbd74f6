"""Messages: which channel a frame of Binance's belongs to, told from its stream name or its shape.

A combined stream names itself (`{"stream":…,"data":…}`). Everything else that arrives on a
connection comes bare: control replies, errors, `serverShutdown`, payloads of raw streams.

Source: binance-protocol, sections 1 (control messages) and 2 (payloads).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from market_data.channels import CONTROL, EXCHANGE_INFO, HOLE, channel_of
from market_data.rejections import Reason, Rejected

_CHANNEL_OF_EVENT: Final = {
    "trade": "trade",
    "aggTrade": "aggTrade",
    "kline": "kline",
    "blockTrade": "blockTrade",
    "depthUpdate": "depth",
    "24hrMiniTicker": "miniTicker",
    "24hrTicker": "ticker",
    "1hTicker": "ticker",
    "4hTicker": "ticker",
    "1dTicker": "ticker",
    "avgPrice": "avgPrice",
    "referencePrice": "referencePrice",
    "serverShutdown": "serverShutdown",
}
# Keys that together give away a bare message that has no `e`; the first match counts.
_SHAPES: Final = (
    (frozenset(("u", "s", "b", "B", "a", "A")), "bookTicker", "bookTicker"),
    (frozenset(("lastUpdateId", "bids", "asks")), "depth", "depth"),
    (frozenset(("symbol", "filters")), EXCHANGE_INFO, EXCHANGE_INFO),
    (frozenset(("first_missing_id", "last_missing_id", "outcome")), HOLE, HOLE),
    (frozenset(("result", "id")), CONTROL, "control_reply"),
    (frozenset(("code", "msg")), CONTROL, "error_reply"),
    (frozenset(("symbol", "bidPrice", "askPrice")), CONTROL, "rest_answer"),
)


def classify(stream: str | None, data: object) -> tuple[str, str]:
    """Return (channel, decision) of a message.

    The decision is the channel's name, but for messages of the channel `control` the kind of
    control message: `control_reply`, `error_reply` or `rest_answer`.

    Args:
        stream: stream name of the combined envelope; None for a bare message.
        data: the parsed payload.

    Raises:
        Rejected: a bare message of no known shape.
    """
    if stream is not None:
        channel = channel_of(stream)
        return channel, channel
    if isinstance(data, Mapping):
        event = data.get("e")
        if isinstance(event, str) and event in _CHANNEL_OF_EVENT:
            channel = _CHANNEL_OF_EVENT[event]
            return channel, channel
        for keys, channel, decision in _SHAPES:
            if keys <= data.keys():
                return channel, decision
    raise Rejected(
        Reason.UNKNOWN_MESSAGE,
        "the message has no stream name and no shape that Binance documents",
        value=data,
    )
