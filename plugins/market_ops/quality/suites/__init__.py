"""Suites: what must be true, how much it matters, and what to do when it is not. A file a suite.

A suite is a function of the window and gives a description. Each query reads only the columns that
are looked at and prunes partitions by constant times. SQL in here holds no colon and no per cent
sign: SQLAlchemy would read parameters into them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from ..truths import Suite
from ..window import Window
from .candles import candles
from .completeness import completeness
from .frames import frames
from .klines import klines
from .raw_trades import raw_trades
from .reconciliation import reconciliation
from .trades import trades

SUITES: Final[tuple[Callable[[Window, timedelta], Suite], ...]] = (
    *(raw_trades, trades, klines, frames, candles, completeness, reconciliation),
)
SUITE_NAMES: Final = tuple(suite.__name__ for suite in SUITES)
