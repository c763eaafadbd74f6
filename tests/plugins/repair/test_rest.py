"""REST for repairs: pages, refusals, and what is asked again."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from plugins.market_ops.repair.budget import Banned, Budget
from plugins.market_ops.repair.holes import Aggregate, SourceTrade
from plugins.market_ops.repair.rest import Rest, SourceError

NOW = 1_770_000_000.0
Answer = Callable[[httpx.Request], httpx.Response]


class Clock:
    def __init__(self) -> None:
        self.now = NOW
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if seconds:
            self.pauses.append(seconds)


def api(answer: Answer) -> tuple[Rest, Clock]:
    clock = Clock()
    client = httpx.Client(transport=httpx.MockTransport(answer))
    return Rest("http://x", Budget(), client, clock.sleep, lambda: clock.now), clock


def trade(number: int, **changes: Any) -> dict[str, Any]:
    row = {"id": number, "price": "1.50", "qty": "2.00", "quoteQty": "3.00", "time": 5}
    return row | {"isBuyerMaker": True, "isBestMatch": False} | changes


def of(*rows: object) -> Answer:
    return lambda _: httpx.Response(200, json=list(rows))


def test_trades_are_the_sources_own_texts() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=[trade(7)])

    rest, _ = api(answer)
    assert rest.trades("BTCUSDT", 7) == [SourceTrade(7, "1.50", "2.00", 5, True, False)]
    (request,) = asked
    assert request.url.path == "/api/v3/historicalTrades"
    assert dict(request.url.params) == {"symbol": "BTCUSDT", "fromId": "7", "limit": "1000"}


@pytest.mark.parametrize("rows", [[trade(8), trade(7)], [trade(7), trade(7)], [trade(6)]])
def test_answers_out_of_order_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(SourceError, match="BTCUSDT from 7: not in order"):
        api(of(*rows))[0].trades("BTCUSDT", 7)


@pytest.mark.parametrize("body", ['{"code": -1}', "<html>", '[{"id": 7}]', "[7]"])
def test_unexpected_answers_are_refused(body: str) -> None:
    with pytest.raises(SourceError, match="historicalTrades"):
        api(lambda _: httpx.Response(200, text=body))[0].trades("BTCUSDT", 7)


def test_429_waits_and_goes_on() -> None:
    answers = iter(
        [httpx.Response(429, headers={"Retry-After": "17"}), httpx.Response(200, json=[trade(7)])]
    )
    rest, clock = api(lambda _: next(answers))
    assert len(rest.trades("BTCUSDT", 7)) == 1
    assert clock.pauses == [17.0]


def test_429_for_too_long_is_left_to_a_later_run() -> None:
    rest, clock = api(lambda _: httpx.Response(429, headers={"Retry-After": "3600"}))
    with pytest.raises(SourceError, match="asks to wait for 3600 s"):
        rest.trades("BTCUSDT", 7)
    assert (clock.pauses, rest.requests) == ([], 1)


def test_418_stops_at_once() -> None:
    rest, _ = api(lambda _: httpx.Response(418, headers={"Retry-After": "120"}))
    for _ in range(2):
        with pytest.raises(Banned):
            rest.trades("BTCUSDT", 7)
    assert rest.requests == 1


@pytest.mark.parametrize("status", [403, 404, 451])
def test_refusals_are_not_repeated(status: int) -> None:
    rest, _ = api(lambda _: httpx.Response(status, text="no"))
    with pytest.raises(SourceError, match=f"HTTP {status}: no"):
        rest.trades("BTCUSDT", 7)
    assert rest.requests == 1


def test_what_may_pass_is_repeated_a_few_times() -> None:
    def cut(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    for answer in (cut, lambda _: httpx.Response(503, text="busy")):
        rest, clock = api(answer)
        with pytest.raises(SourceError, match=r"ReadTimeout|HTTP 503"):
            rest.trades("BTCUSDT", 7)
        assert (rest.requests, clock.pauses) == (4, [1.0, 2.0, 4.0, 8.0])


def aggregate(number: int, time: int = 5) -> dict[str, Any]:
    return {"a": number, "p": "1", "q": "1", "f": number, "l": number, "T": time}


def test_aggregates_go_on_by_id_until_the_time_is_over() -> None:
    asked: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        start = int(asked[-1].get("fromId", 1))
        rows = [aggregate(n, 5 if n < 1500 else 9) for n in range(start, start + 1000)]
        return httpx.Response(200, content=json.dumps(rows))

    found = list(api(answer)[0].aggregates("BTCUSDT", 5, 8))
    assert found[:2] == [Aggregate(1, 1, 1), Aggregate(2, 2, 2)]
    assert len(found) == 2000
    assert asked == [
        {"symbol": "BTCUSDT", "startTime": "5", "endTime": "8", "limit": "1000"},
        {"symbol": "BTCUSDT", "fromId": "1001", "limit": "1000"},
    ]


def test_invalidated_aggregates_are_none() -> None:
    rows = [aggregate(1), aggregate(2) | {"f": -1, "l": -1}]
    assert list(api(of(*rows))[0].aggregates("BTCUSDT", 5, 8)) == [Aggregate(1, 1, 1)]
