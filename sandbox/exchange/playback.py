"""Serves recordings: every frame once, in order, as fast as the clients take it.

The files are streamed, never loaded whole. A frame goes to the first connection subscribed to
its stream, otherwise (no envelope, or a stream nobody asked for) to the oldest connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from sandbox.exchange.catalogue import recorded_instrument
from sandbox.exchange.frames import BINARY, TEXT
from sandbox.exchange.hub import Connection, Hub
from sandbox.exchange.ledger import Ledger
from sandbox.exchange.recorded_trades import trade_of
from sandbox.exchange.recording import RecordedFrame, Survey, read_frames

_BATCH = 256
# A client with more than this unread is waited for.
_HIGH_WATER_BYTES = 1024 * 1024


class Playback:
    """One run over the recording's files.

    Args:
        paths: the files in the order to serve them.
        found: the survey of these files.
        hub: where the frames go.
    """

    mode = "recording"

    def __init__(self, paths: Sequence[Path], found: Survey, hub: Hub) -> None:
        self.trades = Ledger()
        self.agg_trades = Ledger()
        self.instruments = [recorded_instrument(symbol) for symbol in found.symbols]
        self.survey = found
        self.done = False
        self.delivered = 0
        self._paths = paths
        self._hub = hub
        self._told_to_start = False

    def start(self) -> None:
        """Begin although not every announced stream is subscribed."""
        self._told_to_start = True
        self._hub.changed.set()

    async def run(self) -> None:
        """Wait for the start, then serve everything once."""
        while not self._ready():
            await self._hub_changes()
        frames = read_frames(self._paths)
        while batch := list(islice(frames, _BATCH)):
            await self._serve(batch)
        self.done = True

    def details(self) -> dict[str, object]:
        """Return the recording's part of /sim/status."""
        return {
            "channels": self.survey.channels,
            "streams": list(self.survey.streams),
            "frames_total": self.survey.frames,
            "frames_sent": self.delivered,
            "frames_skipped": self.survey.skipped,
            "frames_without_stream": self.survey.unnamed,
        }

    def _ready(self) -> bool:
        if not self._hub.connections:
            return False
        if self._told_to_start:
            return True
        wanted = (stream for stream in self.survey.streams if stream[0] != "!")
        return all(self._hub.has_subscribers(stream) for stream in wanted)

    async def _serve(self, batch: list[RecordedFrame]) -> None:
        used: dict[Connection, None] = {}
        for frame in batch:
            while (connection := self._target(frame.stream)) is None:
                await self._hub_changes()
            self._deliver(connection, frame)
            used[connection] = None
        self._hub.flush()
        await asyncio.sleep(0)
        for connection in used:
            await connection.drained(_HIGH_WATER_BYTES)

    def _deliver(self, connection: Connection, frame: RecordedFrame) -> None:
        opcode = TEXT if _is_text(frame.message) else BINARY
        self._hub.deliver(connection, frame.stream or "", frame.message, opcode)
        self.delivered += 1
        trade = trade_of(frame.message)
        if trade is not None:
            ledger = self.trades if trade.event == "trade" else self.agg_trades
            ledger.served(trade.symbol, trade.item_id, trade.quantity, trade.quote_quantity)

    def _target(self, stream: str | None) -> Connection | None:
        subscribed = self._hub.subscribers(stream) if stream else iter(())
        return next(subscribed, None) or next(self._hub.live_connections(), None)

    async def _hub_changes(self) -> None:
        self._hub.changed.clear()
        await self._hub.changed.wait()


def _is_text(message: bytes) -> bool:
    # A text frame must be UTF-8; a client would have to fail the whole connection otherwise.
    if message.isascii():
        return True
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True
