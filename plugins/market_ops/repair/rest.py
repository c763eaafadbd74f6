"""Binance's REST interface for repairs: trades and aggregate trades within one weight budget.

Retry policy: 429 waits as long as it is told and goes on, connection errors, timeouts and 5xx are
repeated a few times; 418 stops everything (`budget.Banned`); any other status means that this
interface does not serve us (`SourceError`), as 404 where a host has no historicalTrades and 451
where Binance refuses a country.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from .budget import Budget
from .holes import Aggregate, SourceTrade

logger = logging.getLogger(__name__)

TRADES_WEIGHT: Final = 25
AGGREGATES_WEIGHT: Final = 4
PAGE: Final = 1000
TRIES: Final = 4
# Binance answers within 10 s or gives up itself.
TIMEOUT_SECONDS: Final = 15.0
# A 429 ends with its minute; what asks for a longer pause is left to a later run.
LONGEST_PAUSE: Final = 180.0
# More aggregates than this between two trades that are neighbours: the answer makes no sense.
_AGGREGATE_PAGES: Final = 20


class SourceError(Exception):
    """A source cannot serve what was asked for; says what it answered."""


@dataclass
class Rest:
    """REST of one address.

    Attributes:
        url: base address.
        budget: of all requests.
        client: sends them.
        sleep: waits so many seconds.
        clock: Unix seconds.
    """

    url: str
    budget: Budget
    client: httpx.Client
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time
    requests: int = field(default=0, init=False)

    def trades(self, symbol: str, from_id: int) -> list[SourceTrade]:
        """Return up to 1,000 trades from an id on, by id.

        Raises:
            SourceError: REST does not serve them, or not in order.
            Banned: the address is banned.
        """
        asked = {"symbol": symbol, "fromId": str(from_id), "limit": str(PAGE)}
        rows = self._get("/api/v3/historicalTrades", asked, TRADES_WEIGHT)
        try:
            found = [
                SourceTrade(
                    row["id"],
                    row["price"],
                    row["qty"],
                    row["time"],
                    row["isBuyerMaker"],
                    row["isBestMatch"],
                )
                for row in rows
            ]
            ids = [trade.id for trade in found]
            if ids != sorted(set(ids)) or (ids and ids[0] < from_id):
                raise SourceError(f"historicalTrades of {symbol} from {from_id}: not in order")
        except (KeyError, TypeError) as error:
            raise SourceError(
                f"historicalTrades of {symbol} from {from_id}: unexpected answer: {error!r}"
            ) from error
        return found

    def aggregates(self, symbol: str, start: int, end: int) -> Iterator[Aggregate]:
        """Yield the aggregates between two trade times (inclusive, ms or µs), by id.

        Raises:
            SourceError: REST does not serve them.
            Banned: the address is banned.
        """
        asked = {"symbol": symbol, "startTime": str(start), "endTime": str(end), "limit": str(PAGE)}
        for _ in range(_AGGREGATE_PAGES):
            rows = self._get("/api/v3/aggTrades", asked, AGGREGATES_WEIGHT)
            try:
                page = [Aggregate(row["a"], row["f"], row["l"]) for row in rows if row["f"] >= 0]
                is_over = len(rows) < PAGE or rows[-1]["T"] > end
                last_id = rows[-1]["a"] if rows else 0
            except (KeyError, TypeError) as error:
                raise SourceError(f"aggTrades of {symbol}: unexpected answer: {error!r}") from error
            yield from page
            if is_over:
                return
            asked = {"symbol": symbol, "fromId": str(last_id + 1), "limit": str(PAGE)}

    def _get(self, path: str, parameters: dict[str, str], weight: int) -> Any:
        problem = ""
        for number in range(TRIES):
            pause = self.budget.wait(weight, self.clock())
            if pause > LONGEST_PAUSE:
                raise SourceError(f"{self.url}{path}: asks to wait for {pause:.0f} s")
            self.sleep(pause)
            self.requests += 1
            try:
                answer = self.client.get(
                    f"{self.url}{path}", params=parameters, timeout=TIMEOUT_SECONDS
                )
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                self.budget.answered(answer.status_code, answer.headers, self.clock())
                if answer.status_code == 200:
                    return self._body(path, answer)
                problem = f"HTTP {answer.status_code}: {answer.text[:200]}"
                if 400 <= answer.status_code < 500 and answer.status_code != 429:
                    break
            logger.warning("%s%s: %s", self.url, path, problem)
            if not problem.startswith("HTTP 429"):
                self.sleep(2.0**number)
        raise SourceError(f"{self.url}{path}: {problem}")

    def _body(self, path: str, answer: httpx.Response) -> Any:
        try:
            body = answer.json()
        except ValueError as error:
            raise SourceError(f"{self.url}{path}: no JSON: {answer.text[:200]}") from error
        if not isinstance(body, list):
            raise SourceError(f"{self.url}{path}: expected a list: {answer.text[:200]}")
        return body
