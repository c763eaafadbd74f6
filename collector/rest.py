"""Binance's REST interface: one client and one weight budget for all that the collector asks."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from collector.backoff import backoff
from collector.budget import DEFAULT_PAUSE, Budget
from collector.exchange_info import split_entries

log = logging.getLogger(__name__)

# Binance answers within 10 s or gives up itself (binance-protocol, section 4).
TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
EXCHANGE_INFO_WEIGHT: Final = 20
# A wait under the budget is looked at again so often: a ban may have grown in the meantime.
_LONGEST_NAP: Final = 30.0


class ExchangeError(RuntimeError):
    """The exchange refused a request for good; asking again would not help.

    Attributes:
        status: HTTP status; 0 where there was none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class UnavailableError(RuntimeError):
    """The exchange did not answer, or not with what it promises; asking again may help."""


class Rest:
    """A client of one address; an asynchronous context manager.

    Args:
        url: base of the REST endpoint.
        budget: of all requests to the address.
        sleep: awaited with the seconds to wait; asyncio.sleep.
        clock: Unix seconds.
    """

    def __init__(
        self,
        url: str,
        budget: Budget,
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.budget = budget
        self._url = url
        self._sleep = sleep
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._told_until = 0.0

    async def __aenter__(self) -> Self:
        """Open the connections' pool."""
        self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, parameters: Mapping[str, str], weight: int) -> bytes:
        """Return the body of an answer, once: what may pass is for the caller to ask again.

        Waits as long as the budget says; 429 and 418 only lengthen the wait.

        Raises:
            ExchangeError: any other 4xx: the exchange does not serve this, or not us.
            UnavailableError: connection error, timeout or 5xx.
        """
        if self._session is None:
            raise RuntimeError("Rest.get: use the client in `async with`")
        while True:
            await self._allowed(weight)
            url = f"{self._url}{path}"
            try:
                async with self._session.get(url, params=parameters) as answer:
                    self.budget.answered(answer.status, answer.headers, self._clock())
                    body = await answer.read()
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError) as error:
                raise UnavailableError(f"{url}: {type(error).__name__}: {error}") from error
            if status == 200:
                return body
            problem = f"{url}: HTTP {status}: {body[:200].decode(errors='replace')}"
            if status not in DEFAULT_PAUSE:
                if 400 <= status < 500:
                    raise ExchangeError(problem, status)
                raise UnavailableError(problem)
            log.warning("%s", problem)

    async def _allowed(self, weight: int) -> None:
        """Wait until a request of this weight may be sent, and count it."""
        while (seconds := self.budget.delay(weight, now := self._clock())) > 0:
            if now + seconds > self._told_until + 1:
                self._told_until = now + seconds
                until = datetime.fromtimestamp(int(self._told_until), UTC)
                log.warning(
                    "REST: %d of weight used in this minute; nothing is asked until %s",
                    *(self.budget.used, until.isoformat()),
                )
            await self._sleep(min(seconds, _LONGEST_NAP))
        self.budget.spend(weight, now)


async def fetch_exchange_info(
    rest_url: str,
    sleep: Callable[[float], Any],
    chance: random.Random | None = None,
    budget: Budget | None = None,
    clock: Callable[[], float] = time.time,
) -> list[bytes]:
    """Return the symbols' entries of /api/v3/exchangeInfo, however long the exchange is away.

    Retry policy: connection errors, timeouts, 5xx, 418, 429 and a body without entries are
    repeated with back-off (at least as long as the budget says); any other 4xx is our mistake and
    stops.

    Args:
        rest_url: base of the REST endpoint.
        sleep: awaited with the seconds to wait; asyncio.sleep.
        chance: where the jitter comes from.
        budget: of all requests to the address; None for one of its own.
        clock: Unix seconds.

    Raises:
        ExchangeError: the exchange says that the request is wrong.
    """
    url = f"{rest_url}/api/v3/exchangeInfo"
    budget = Budget() if budget is None else budget
    while (seconds := budget.delay(EXCHANGE_INFO_WEIGHT, clock())) > 0:
        log.warning("%s: may not be asked for %.1f s", url, seconds)
        await sleep(seconds)
    for wait in backoff(chance or random.SystemRandom()):
        budget.spend(EXCHANGE_INFO_WEIGHT, clock())
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.get(url) as answer,
            ):
                budget.answered(answer.status, answer.headers, clock())
                if answer.status == 200:
                    return split_entries(await answer.read())
                problem = f"HTTP {answer.status}: {(await answer.text(errors='replace'))[:200]}"
                if 400 <= answer.status < 500 and answer.status not in DEFAULT_PAUSE:
                    raise ExchangeError(f"{url}: {problem}; check BINANCE_REST_URL", answer.status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        seconds = max(wait, budget.delay(EXCHANGE_INFO_WEIGHT, clock()))
        log.warning("%s: %s; next attempt in %.1f s", url, problem, seconds)
        await sleep(seconds)
    raise AssertionError("backoff never ends")
