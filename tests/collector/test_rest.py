import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.budget import Budget
from collector.rest import ExchangeError, Rest, UnavailableError, fetch_exchange_info

ENTRY = '{"symbol":"币安USDT", "status":"TRADING","quoteAsset":"USDT"}'
INFO = f'{{"timezone":"UTC","symbols":[{ENTRY}]}}'
Answer = Callable[[], web.Response]


class Exchange:
    """Answers as the script says, then with INFO; keeps how long the collector waited."""

    def __init__(self, *script: Answer) -> None:
        self._script = list(script)
        self.requests: list[str] = []
        self.waits: list[float] = []
        self.now = 1_770_000_030.0

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path_qs)
        return self._script.pop(0)() if self._script else web.Response(text=INFO)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


@asynccontextmanager
async def serving(exchange: Exchange) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/{path:.*}", exchange.answer)
    async with TestServer(application) as server:
        yield str(server.make_url("/")).rstrip("/")


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: web.Response(status=code, body=body, headers=named)


async def fetch(*script: Answer) -> Exchange:
    exchange = Exchange(*script)
    async with serving(exchange) as url:
        found = await fetch_exchange_info(
            url, exchange.sleep, random.Random(1), clock=exchange.clock
        )
        assert found == [ENTRY.encode()]
    assert exchange.requests == ["/api/v3/exchangeInfo"] * (len(script) + 1)
    assert len(exchange.waits) == len(script)
    return exchange


async def test_the_answer() -> None:
    assert (await fetch()).waits == []


@pytest.mark.parametrize(
    "answer",
    [
        status(500, b'{"code":-1001,"msg":"Internal error"}'),
        status(502, b"<html>\xff</html>"),
        status(503),
        status(200, b"<html>maintenance</html>", Content_Type="text/html"),
        status(200, b"\xff\xfe"),
        status(200, b'{"symbols":['),
        status(200, b""),
        status(200, b"[]"),
        status(200, b'{"symbols":{}}'),
    ],
    ids=[
        *("5xx", "5xx that is no text", "empty 5xx", "HTML"),
        *("no UTF-8", "truncated", "empty", "a list", "no list"),
    ],
)
async def test_what_may_pass_is_asked_again(answer: Answer) -> None:
    (wait,) = (await fetch(answer)).waits
    assert 0.1 <= wait <= 0.2


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(status(429), 60), (status(429, b"", Retry_After="soon"), 60), (status(418), 120)],
    ids=["429", "odd Retry-After", "418"],
)
async def test_a_refusal_without_a_time(answer: Answer, seconds: float) -> None:
    assert (await fetch(answer)).waits == [seconds]


@pytest.mark.parametrize("code", [429, 418])
async def test_retry_after_is_kept(code: int) -> None:
    exchange = await fetch(status(code, b"{}", Retry_After="120"), status(503))
    assert exchange.waits[0] == 120
    assert exchange.waits[1] <= 0.4


async def test_the_longer_of_back_off_and_retry_after() -> None:
    exchange = await fetch(*[status(503)] * 6, status(429, b"", Retry_After="1"))
    assert exchange.waits[-1] >= 6.4


async def test_backs_off_to_a_cap() -> None:
    exchange = await fetch(*[status(500)] * 12)
    assert exchange.waits[0] < exchange.waits[3] < exchange.waits[6]
    assert all(15 <= wait <= 30 for wait in exchange.waits[-3:])


@pytest.mark.parametrize(
    ("code", "body"),
    [(400, b'{"code":-1100,"msg":"Illegal characters"}'), (403, b"WAF"), (404, b"\xff")],
)
async def test_our_own_mistake_stops(code: int, body: bytes) -> None:
    exchange = Exchange(status(code, body))
    async with serving(exchange) as url:
        with pytest.raises(ExchangeError, match=f"{url}.*HTTP {code}.*BINANCE_REST_URL"):
            await fetch_exchange_info(url, exchange.sleep)
    assert exchange.waits == []


async def test_an_exchange_that_is_away_is_waited_for() -> None:
    exchange = Exchange()
    async with serving(exchange) as gone:
        pass

    async def sleep(seconds: float) -> None:
        await exchange.sleep(seconds)
        if len(exchange.waits) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await fetch_exchange_info(gone, sleep)
    assert len(exchange.waits) == 3


async def test_a_connection_that_is_cut_is_made_again() -> None:
    exchange = Exchange()

    async def answer(request: web.Request) -> web.Response:
        if not exchange.waits:
            assert request.transport is not None
            request.transport.close()
        return await exchange.answer(request)

    application = web.Application()
    application.router.add_get("/api/v3/exchangeInfo", answer)
    async with TestServer(application) as server:
        url = str(server.make_url("/")).rstrip("/")
        assert await fetch_exchange_info(url, exchange.sleep) == [ENTRY.encode()]
    assert len(exchange.waits) == 1


class TestRest:
    """One client, one budget."""

    async def get(self, exchange: Exchange, budget: Budget | None = None, times: int = 1) -> bytes:
        body = b""
        async with (
            serving(exchange) as url,
            Rest(url, budget or Budget(), sleep=exchange.sleep, clock=exchange.clock) as rest,
        ):
            for _ in range(times):
                body = await rest.get("/api/v3/historicalTrades", {"symbol": "币安USDT"}, 25)
        return body

    async def test_the_answer(self) -> None:
        exchange, budget = Exchange(status(200, b"[]", X_MBX_USED_WEIGHT_1M="120")), Budget()
        assert await self.get(exchange, budget) == b"[]"
        assert exchange.requests == [
            "/api/v3/historicalTrades?symbol=%E5%B8%81%E5%AE%89USDT",
        ]
        assert (budget.used, budget.spent, exchange.waits) == (120, 25, [])

    @pytest.mark.parametrize("code", [429, 418])
    async def test_under_a_refusal_it_waits(
        self, code: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        exchange = Exchange(status(code, b"{}", Retry_After="70"), status(200, b"[1]"))
        assert await self.get(exchange) == b"[1]"
        assert sum(exchange.waits) == 70
        assert max(exchange.waits) <= 30, "it looks again whether it has grown"
        assert "nothing is asked until 2026-02-02T02:41:40+00:00" in caplog.text

    async def test_a_full_minute_is_waited_for(self) -> None:
        exchange = Exchange(status(200, b"[]", X_MBX_USED_WEIGHT_1M="3990"))
        await self.get(exchange, times=2)
        assert sum(exchange.waits) == 31  # the clock of the test stands at half a minute

    @pytest.mark.parametrize("code", [400, 401, 403, 404, 451])
    async def test_a_refusal_for_good(self, code: int) -> None:
        with pytest.raises(ExchangeError, match=f"historicalTrades: HTTP {code}: no") as caught:
            await self.get(Exchange(status(code, b"no")))
        assert caught.value.status == code

    @pytest.mark.parametrize("code", [500, 502, 503])
    async def test_trouble_of_the_exchange(self, code: int) -> None:
        with pytest.raises(UnavailableError, match=f"HTTP {code}"):
            await self.get(Exchange(status(code, b"\xff")))

    async def test_an_exchange_that_is_away(self) -> None:
        exchange = Exchange()
        async with serving(exchange) as gone:
            pass
        async with Rest(gone, Budget()) as rest:
            with pytest.raises(UnavailableError, match="ClientConnectorError"):
                await rest.get("/api/v3/aggTrades", {}, 4)

    async def test_it_has_to_be_entered(self) -> None:
        with pytest.raises(RuntimeError, match="async with"):
            await Rest("http://127.0.0.1:1", Budget()).get("/", {}, 1)

    async def test_exchange_info_shares_the_budget(self) -> None:
        exchange, budget = Exchange(), Budget()
        budget.answered(418, {"Retry-After": "90"}, exchange.now)
        async with serving(exchange) as url:
            await fetch_exchange_info(url, exchange.sleep, budget=budget, clock=exchange.clock)
        assert (exchange.waits, budget.spent) == ([90], 20)
