"""Binance's REST interface: only what the collector needs to know the symbols.

Seam for hole healing: the weight budget and historicalTrades come here.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from collector.backoff import backoff
from collector.exchange_info import split_entries

log = logging.getLogger(__name__)

# Binance answers within 10 s or gives up itself (binance-protocol, section 4).
TIMEOUT: Final = aiohttp.ClientTimeout(total=30)


class ExchangeError(RuntimeError):
    """The exchange refused a request for good; asking again would not help."""


async def fetch_exchange_info(
    rest_url: str, sleep: Callable[[float], Any], chance: random.Random | None = None
) -> list[bytes]:
    """Return the symbols' entries of /api/v3/exchangeInfo, however long the exchange is away.

    Retry policy: connection errors, timeouts, 5xx, 418, 429 and a body without entries are
    repeated with back-off (at least Retry-After); any other 4xx is our mistake and stops.

    Args:
        rest_url: base of the REST endpoint.
        sleep: awaited with the seconds to wait; asyncio.sleep.
        chance: where the jitter comes from.

    Raises:
        ExchangeError: the exchange says that the request is wrong.
    """
    url = f"{rest_url}/api/v3/exchangeInfo"
    for wait in backoff(chance or random.SystemRandom()):
        seconds = wait
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.get(url) as answer,
            ):
                if answer.status == 200:
                    return split_entries(await answer.read())
                problem = f"HTTP {answer.status}: {(await answer.text(errors='replace'))[:200]}"
                if 400 <= answer.status < 500 and answer.status not in (418, 429):
                    raise ExchangeError(f"{url}: {problem}; check BINANCE_REST_URL")
                seconds = max(wait, _retry_after(answer.headers.get("Retry-After")))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        log.warning("%s: %s; next attempt in %.1f s", url, problem, seconds)
        await sleep(seconds)
    raise AssertionError("backoff never ends")


def _retry_after(header: str | None) -> float:
    """Return the seconds of a Retry-After header, 0 without one."""
    return float(header) if header is not None and header.isdigit() else 0.0
