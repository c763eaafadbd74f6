"""Frames of repaired trades, as a collector seals them.

The one module of market_ops that imports `market_data`, inside its functions: a frame must be the
same thing for everyone who makes one. Deployments copy the package beside this one
(docs/decisions/016-repair.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from .holes import SourceTrade

MARKET: Final = "spot"
CHANNEL: Final = "trade"
COLLECTOR: Final = "repair"
# 5,000 trades of one symbol are about 60 KB compressed; the limit is 384.
TRADES_A_FRAME: Final = 5_000


class UnusableTrades(Exception):
    """A source gave trades that no frame may carry; names the first one and why."""


@dataclass(frozen=True)
class Message:
    """A frame, ready to be published."""

    frame_id: str
    data: bytes
    trades: int

    @property
    def attributes(self) -> dict[str, str]:
        """The message's attributes, as the collector's have them."""
        return {
            "frame_id": self.frame_id,
            "market": MARKET,
            "channel": CHANNEL,
            "collector": COLLECTOR,
        }


def seal(
    symbol: str,
    trades: Sequence[SourceTrade],
    *,
    source: str,
    epoch: int,
    sequence: int,
    received_at: int,
) -> Iterator[Message]:
    """Yield frames with the trades of one symbol.

    Args:
        symbol: symbol as Binance spells it.
        trades: by id.
        source: rest or archive.
        epoch: start of the repair, µs since 1970.
        sequence: number of the first frame in the epoch, from 1.
        received_at: when the source gave them, µs since 1970.

    Raises:
        UnusableTrades: one of them would be rejected.
    """
    for start in range(0, len(trades), TRADES_A_FRAME):
        part = trades[start : start + TRADES_A_FRAME]
        yield _frame(symbol, part, source, epoch, sequence, received_at)
        sequence += 1


def payload(symbol: str, trade: SourceTrade) -> dict[str, Any]:
    """Return the websocket's payload of a trade that REST or the archive gave.

    All keys of the documented payload, none of them invented: both sources have the trade's id,
    price, quantity, time and flags. Neither has the event time `E`, when a message was sent: it is
    the trade's time, the earliest that it can have been.
    """
    return {
        "e": "trade",
        "E": trade.time,
        "s": symbol,
        "t": trade.id,
        "p": trade.price,
        "q": trade.quantity,
        "T": trade.time,
        "m": trade.is_buyer_maker,
        "M": trade.is_best_match,
    }


def line(symbol: str, trade: SourceTrade, received_at: int) -> bytes:
    """Return a trade as a line of a frame, without its newline."""
    envelope = {
        "received_at": received_at,
        "stream": f"{symbol.lower()}@{CHANNEL}",
        "data": payload(symbol, trade),
    }
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()


def _frame(
    symbol: str,
    trades: Sequence[SourceTrade],
    source: str,
    epoch: int,
    sequence: int,
    received_at: int,
) -> Message:
    from market_data.batches import decode_batch
    from market_data.decode import Origin
    from market_data.frames import (
        Frame,
        FrameHeader,
        HeaderTotals,
        encode_frame,
        frame_id,
        join_lines,
    )
    from market_data.layouts import LAYOUTS
    from market_data.totals import totals_by_symbol

    name = frame_id(COLLECTOR, epoch, sequence)
    body = join_lines(line(symbol, trade, received_at) for trade in trades)
    origin = Origin(MARKET, source, COLLECTOR, name, datetime.fromtimestamp(0, UTC))
    batch = decode_batch(body, CHANNEL, origin)
    if batch.rejected:
        bad = batch.rejected[0]
        raise UnusableTrades(
            f"{symbol} {trades[bad.number - 1].id} from {source}: {bad.cause}; nothing of the hole"
            " was published"
        )
    totals = {
        each.symbol: HeaderTotals(
            each.first_id,
            each.last_id,
            each.count,
            int(each.sum_ids),
            each.sum_quantity,
            each.sum_quote_quantity,
        )
        for each in totals_by_symbol(batch.rows, LAYOUTS[CHANNEL])
    }
    header = FrameHeader(
        frame_id=name,
        market=MARKET,
        channel=CHANNEL,
        collector=COLLECTOR,
        epoch=epoch,
        sequence=sequence,
        source=source,
        lines=len(trades),
        opened_at=received_at,
        closed_at=received_at,
        symbols=totals,
    )
    return Message(name, encode_frame(Frame(header, body)), len(trades))
