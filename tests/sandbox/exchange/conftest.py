"""What the tests of the simulated exchange share: small markets and a running server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox.exchange.catalogue import trading_instruments
from sandbox.exchange.clock import Timeline
from sandbox.exchange.market import Market
from sandbox.exchange.server import Exchange
from sandbox.exchange.settings import Settings
from sandbox.exchange.tape import Tape

START_US = 1_790_000_040_000_000  # a full minute


def small_market(seed: int = 7, rate: int = 50, symbols: int = 8) -> Market:
    return Market(trading_instruments(symbols), seed, rate)


def small_tape(genesis_us: int = START_US, seed: int = 7, rate: int = 50) -> Tape:
    return Tape(small_market(seed, rate), Timeline(), genesis_us)


@asynccontextmanager
async def running(**changes: object) -> AsyncIterator[Exchange]:
    values: dict[str, object] = {"port": 0, "symbols": 8, "rate": 100, "history_s": 60, **changes}
    async with Exchange(Settings(**values)) as exchange:  # type: ignore[arg-type]
        yield exchange


async def eventually(condition: Callable[[], bool], deadline_s: float = 5.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.005)


async def within(awaitable: Awaitable[object], deadline_s: float = 5.0) -> object:
    return await asyncio.wait_for(awaitable, deadline_s)


@pytest.fixture
def recorded() -> Path:
    folder = Path(__file__).parents[3].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no recorded data in {folder}")
    return folder
