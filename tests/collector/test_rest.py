import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.rest import ExchangeError, fetch_exchange_info

ENTRY = '{"symbol":"币安USDT", "status":"TRADING","quoteAsset":"USDT"}'
INFO = f'{{"timezone":"UTC","symbols":[{ENTRY}]}}'
Answer = Callable[[], web.Response]


class Exchange:
    """Answers as the script says, then with INFO; keeps how long the collector waited."""

    def __init__(self, *script: Answer) -> None:
        self._script = list(script)
        self.requests: list[str] = []
        self.waits: list[float] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path_qs)
        return self._script.pop(0)() if self._script else web.Response(text=INFO)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


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
        assert await fetch_exchange_info(url, exchange.sleep, random.Random(1)) == [ENTRY.encode()]
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
        status(429),
        status(429, b"", Retry_After="soon"),
        status(418),
        status(200, b"<html>maintenance</html>", Content_Type="text/html"),
        status(200, b"\xff\xfe"),
        status(200, b'{"symbols":['),
        status(200, b""),
        status(200, b"[]"),
        status(200, b'{"symbols":{}}'),
    ],
    ids=[
        *("5xx", "5xx that is no text", "empty 5xx", "429", "odd Retry-After", "418", "HTML"),
        *("no UTF-8", "truncated", "empty", "a list", "no list"),
    ],
)
async def test_what_may_pass_is_asked_again(answer: Answer) -> None:
    (wait,) = (await fetch(answer)).waits
    assert 0.1 <= wait <= 0.2


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
