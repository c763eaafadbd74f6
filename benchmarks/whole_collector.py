"""A whole collector in this process, its frames given to the caller instead of Pub/Sub."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aiohttp

from collector.service import Service
from collector.settings import Settings
from collector.spool import SpooledFrame
from market_data.frames import Frame, decode_frame
from market_data.memory import keep_freed_memory
from sandbox.probes import free_ports


class _Kept:
    """Stands for Pub/Sub: acknowledges at once."""

    def __init__(self, take: Callable[[Frame], None]) -> None:
        self._take = take

    def publish(self, frame: SpooledFrame) -> Future[str]:
        self._take(decode_frame(frame.data))
        future: Future[str] = Future()
        future.set_result(frame.frame_id)
        return future

    def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def whole_collector(
    url: str, take: Callable[[Frame], None], **settings: Any
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Run a collector of all trades at an exchange; yield a client and the collector's own URL.

    It has drained when this ends.

    Args:
        url: of the exchange, its streams and its REST.
        take: gets each frame, once it is in the spool.
        settings: of the collector, beside those.
    """
    keep_freed_memory()
    stop = asyncio.Event()
    (port,) = free_ports("127.0.0.1", 1)
    with tempfile.TemporaryDirectory() as folder:
        chosen = Settings(
            ws_url=url.replace("http", "ws", 1),
            rest_url=url,
            quote_assets=("*",),
            channels=("trade",),
            spool_dir=Path(folder),
            http_port=port,
            **settings,
        )
        running = asyncio.create_task(Service(chosen, _Kept(take)).run(stop))
        async with aiohttp.ClientSession() as client:
            yield client, f"http://127.0.0.1:{port}"
        stop.set()
        await running


async def metrics_of(client: aiohttp.ClientSession, own: str) -> dict[str, float]:
    """Return the collector's metrics by name and labels, as /metrics has them."""
    async with client.get(f"{own}/metrics") as answer:
        text = await answer.text()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}
