"""data.binance.vision of the simulated market: /data/spot/daily/..., zips and their CHECKSUM.

A day's files are there as soon as it is over, for any day since the market opened, although the
streams and REST begin at the tape's genesis: the past is a function. A file is made when it is
first asked for, on an unlinked file of the disk, and the newest few are kept, so that CHECKSUM
and zip are of one making. `vision_files.py` says what is in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass
from typing import IO

from aiohttp import web

from sandbox.exchange.clock import SimulatedClock, Timeline
from sandbox.exchange.feed import MarketFeed
from sandbox.exchange.market import SymbolMarket
from sandbox.exchange.vision_files import DailyFile, parse_path, write_zip

ROOT = "/data/spot/daily/"
# The kinds of two symbols' days, which is what a backfill asks for at a time.
_KEPT = 6
_CHUNK = 1 << 18
_NO_SUCH_KEY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
    "<Message>The specified key does not exist.</Message></Error>"
)


@dataclass(frozen=True, slots=True)
class _Made:
    content: IO[bytes]
    size: int
    sha256: str

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the content; it may be closed meanwhile."""
        descriptor = os.dup(self.content.fileno())
        try:
            for offset in range(0, self.size, _CHUNK):
                yield os.pread(descriptor, _CHUNK, offset)
        finally:
            os.close(descriptor)


class VisionApi:
    """Handlers of the daily files.

    Args:
        feed: the market; None when there is none to remember, and then no file is there.
        clock: the simulated time.
    """

    def __init__(self, feed: MarketFeed | None, clock: SimulatedClock) -> None:
        instruments = feed.instruments if feed else ()
        self._tape = feed.tape if feed else None
        self._numbers = {each.symbol: number for number, each in enumerate(instruments)}
        self._clock = clock
        self._made: dict[DailyFile, _Made] = {}
        self._making = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to an application."""
        return [web.get(ROOT + "{path:.+}", self._serve, allow_head=False)]

    async def opened(self, _app: web.Application) -> AsyncIterator[None]:
        """Close the files when the application ends (a cleanup context of aiohttp)."""
        yield
        while self._made:
            self._made.popitem()[1].content.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        file = parse_path(path.removesuffix(".CHECKSUM"))
        made = await self._file(file) if file else None
        if file is None or made is None:
            return web.Response(status=404, text=_NO_SUCH_KEY, content_type="application/xml")
        if path.endswith(".CHECKSUM"):
            return web.Response(text=f"{made.sha256}  {file.name}.zip\n")
        response = web.StreamResponse(headers={"Content-Type": "application/zip"})
        response.content_length = made.size
        await response.prepare(request)
        with contextlib.closing(made.chunks()) as chunks:
            for chunk in chunks:
                await response.write(chunk)
        return response

    async def _file(self, file: DailyFile) -> _Made | None:
        """Return a file, made if it must be; None when it is not there (yet)."""
        number = self._numbers.get(file.symbol)
        if self._tape is None or number is None:
            return None
        async with self._making:
            if file not in self._made:
                market = self._tape.market.symbols[number]
                span = self._tape.span(file.start_us, file.end_us, self._clock.now_us())
                if span is None or not market.aggregates_before_time(span[0]):
                    return None
                self._made[file] = await _make(file, market, self._tape.timeline, span)
                if len(self._made) > _KEPT:
                    self._made.pop(next(iter(self._made))).content.close()
            return self._made[file]


async def _make(
    file: DailyFile, market: SymbolMarket, timeline: Timeline, span: tuple[int, int]
) -> _Made:
    with contextlib.ExitStack() as unless_made:
        content = unless_made.enter_context(tempfile.TemporaryFile())
        for _ in write_zip(content, file, market, timeline, span):
            await asyncio.sleep(0)  # the streams go on in between
        made = _Made(content, content.tell(), await _digest(content))
        unless_made.pop_all()
    return made


async def _digest(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    content.seek(0)
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
        await asyncio.sleep(0)
    return digest.hexdigest()
