import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sandbox.exchange.limits import Limits
from sandbox.exchange.server import Exchange

from .conftest import eventually, running, within

pytestmark = pytest.mark.integration


def ws(exchange: Exchange, path: str) -> str:
    return exchange.url.replace("http", "ws") + path


async def receive(client: ClientConnection) -> Any:
    return json.loads(str(await within(client.recv())))


async def ask(client: ClientConnection, **request: object) -> Any:
    """Send a control message and return its reply, passing over market data."""
    await client.send(json.dumps({"id": 1, **request}))
    while True:
        message = await receive(client)
        if "result" in message or "code" in message:
            return message


async def closed(client: ClientConnection) -> tuple[int, str]:
    """Read until the server closes; returns code and reason."""

    async def drain() -> None:
        while True:
            await client.recv()

    with pytest.raises(ConnectionClosed):
        await within(drain())
    return client.close_code or 0, client.close_reason or ""


async def test_raw_and_combined_paths() -> None:
    async with running() as exchange:
        async with connect(ws(exchange, "/ws/btcusdt@trade")) as client:
            trade = await receive(client)
            assert list(trade) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]
            assert len(str(trade["T"])) == 13
        path = "/stream?streams=btcusdt@aggTrade/btcusdt@bookTicker&timeUnit=MICROSECOND"
        async with connect(ws(exchange, path)) as client:
            seen: dict[str, Any] = {}
            while len(seen) < 2:
                message = await receive(client)
                seen[message["stream"]] = message["data"]
            assert len(str(seen["btcusdt@aggTrade"]["T"])) == 16
        encoded = "/ws/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@kline_1m"
        async with connect(ws(exchange, encoded)) as client:
            reply = await ask(client, method="LIST_SUBSCRIPTIONS")
            assert reply["result"] == ["币安人生usdt@kline_1m"]


async def test_control_messages_change_what_comes() -> None:
    async with running(limits=Limits(messages_per_second=None)) as exchange:
        async with connect(ws(exchange, "/ws")) as client:
            reply = await ask(client, method="SUBSCRIBE", params=["btcusdt@trade", "no@such"])
            assert reply == {"result": None, "id": 1}
            assert (await receive(client))["e"] == "trade"
            await ask(client, method="SET_PROPERTY", params=["combined", True])
            assert (await receive(client))["stream"] == "btcusdt@trade"
            await ask(client, method="UNSUBSCRIBE", params=["btcusdt@trade"])
            assert (await ask(client, method="LIST_SUBSCRIPTIONS"))["result"] == ["no@such"]
            assert (await ask(client, method="NONSENSE"))["code"] == 2
        await eventually(lambda: not exchange.hub.connections)


async def test_the_sixth_message_in_a_second_ends_the_connection() -> None:
    async with running() as exchange, connect(ws(exchange, "/ws")) as client:
        for number in range(6):
            await client.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        assert await closed(client) == (1008, "Too many requests")


async def test_pings_are_answered_and_count() -> None:
    async with running() as exchange, connect(ws(exchange, "/ws")) as client:
        await within(await client.ping(b"hello"))
        for _ in range(5):
            await client.ping()
        assert (await closed(client))[0] == 1008


async def test_a_client_is_pinged_and_must_answer() -> None:
    limits = Limits(ping_interval_s=0.02, pong_timeout_s=0.1, messages_per_second=None)
    async with running(limits=limits) as exchange:
        async with connect(ws(exchange, "/ws")) as client:
            await asyncio.sleep(0.3)
            assert await ask(client, method="LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}
        reader, writer = await asyncio.open_connection(*exchange.url[7:].split(":"))
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await within(reader.readuntil(b"\r\n\r\n"))
        silent = await within(reader.read(-1))
        assert isinstance(silent, bytes)
        assert silent[0] == 0x89
        assert b"\x03\xf0Pong timeout" in silent
        writer.close()


async def test_a_connection_ends_after_its_lifetime() -> None:
    limits = Limits(lifetime_s=0.1)
    async with running(limits=limits) as exchange, connect(ws(exchange, "/ws/a@b")) as client:
        assert await closed(client) == (1008, "Connection lifetime reached")


async def test_too_many_streams_end_the_connection() -> None:
    async with running(limits=Limits(streams_per_connection=2)) as exchange:
        async with connect(ws(exchange, "/stream?streams=a/b/c")) as client:
            assert await closed(client) == (1008, "more than 2 streams on one connection")
        async with connect(ws(exchange, "/stream?streams=a/b")) as client:
            await client.send('{"method":"SUBSCRIBE","params":["c"],"id":1}')
            assert (await closed(client))[0] == 1008


async def test_too_many_connections_and_wrong_time_units_are_refused() -> None:
    limits = Limits(connections_per_window=2)
    async with running(limits=limits) as exchange, connect(ws(exchange, "/ws")):
        with pytest.raises(InvalidStatus, match="400"):
            await connect(ws(exchange, "/ws?timeUnit=hour"))
        with pytest.raises(InvalidStatus, match="429"):
            await connect(ws(exchange, "/ws"))


async def test_shutdown_is_announced_in_both_forms_and_closes_cleanly() -> None:
    async with running(rate=1, shutdown_notice_s=0.01) as exchange:
        raw = await connect(ws(exchange, "/ws"))
        combined = await connect(ws(exchange, "/stream"))
        await eventually(lambda: len(exchange.hub.connections) == 2)
    assert list(await receive(raw)) == ["e", "E"]
    assert (await receive(combined))["stream"] == "!serverShutdown"
    assert (await closed(raw))[0] == 1001
    await raw.close()
    await combined.close()
