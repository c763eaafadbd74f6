"""One conformance suite for all transports: against a plain server, then the simulated exchange."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from collector.protocol import control_message
from collector.settings import TRANSPORTS
from collector.transports import Closed, ConnectError, Link, Transport, load_transport
from sandbox.exchange.server import Exchange
from sandbox.exchange.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

SECONDS = 10
Handler = Callable[[ServerConnection], Awaitable[None]]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    return load_transport(request.param)


def set_limit(transport: Transport, monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(transport, name, value)


@asynccontextmanager
async def server(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """Serve websockets on loopback and yield the address."""
    async with serve(handler, "127.0.0.1", 0, ping_interval=None, **options) as running:
        yield f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}/stream"


async def stay(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 # nobody tells us
            await asyncio.sleep(0.002)


async def listen(transport: Transport, handler: Handler) -> tuple[list[bytes], Closed]:
    """Connect to a server with this handler and read to the end of the connection."""
    received: list[bytes] = []
    async with server(handler) as url, asyncio.timeout(SECONDS):
        link = await transport.connect(url, received.append)
        closed = await link.read()
        await link.close()
    return received, closed


class TestMessages:
    async def test_text_and_binary_arrive_as_bytes_in_order(self, transport: Transport) -> None:
        async def handler(connection: ServerConnection) -> None:
            for number in range(500):
                text = f'{{"stream":"币安@trade","data":{number}}}'
                await connection.send(text if number % 2 else text.encode())
            await connection.send("")

        received, _ = await listen(transport, handler)
        sent = [f'{{"stream":"币安@trade","data":{number}}}'.encode() for number in range(500)]
        assert received == [*sent, b""]
        assert {type(message) for message in received} == {bytes}

    async def test_a_fragmented_message_arrives_whole(self, transport: Transport) -> None:
        async def handler(connection: ServerConnection) -> None:
            async def fragments() -> AsyncIterator[str]:
                yield '{"stream":'
                await connection.ping(b"between")
                yield '"btcusdt@trade"'
                yield "}"

            await connection.send("before")
            await connection.send(fragments())
            await connection.send([b"a", b"b", b"c"])
            await connection.send("behind")

        received, _ = await listen(transport, handler)
        assert received == [b"before", b'{"stream":"btcusdt@trade"}', b"abc", b"behind"]

    async def test_a_large_message_arrives_whole(self, transport: Transport) -> None:
        message = b"0123456789abcdef" * 65_536

        async def handler(connection: ServerConnection) -> None:
            await connection.send(message)

        received, _ = await listen(transport, handler)
        assert received == [message]

    @pytest.mark.parametrize("message", [b"x" * 1001, [b"x" * 500, b"x" * 501]], ids=len)
    async def test_a_message_above_the_limit_ends_the_connection(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch, message: Any
    ) -> None:
        set_limit(transport, monkeypatch, MAX_MESSAGE_BYTES=1000)

        async def handler(connection: ServerConnection) -> None:
            await connection.send(b"x" * 1000)
            await connection.send(message)
            await connection.wait_closed()

        received, closed = await listen(transport, handler)
        assert received[0] == b"x" * 1000  # picows may hand over the large one as well
        assert closed.code == 1006
        assert re.search("exceed|too large", closed.reason)

    async def test_pings_are_answered_with_their_payload(self, transport: Transport) -> None:
        answered = []

        async def handler(connection: ServerConnection) -> None:
            for payload in (b"", b"1790000040000"):
                async with asyncio.timeout(SECONDS):
                    await (await connection.ping(payload))
                answered.append(payload)

        await listen(transport, handler)
        assert answered == [b"", b"1790000040000"]

    async def test_what_is_sent_arrives(self, transport: Transport) -> None:
        received = asyncio.get_running_loop().create_future()

        async def handler(connection: ServerConnection) -> None:
            received.set_result([await connection.recv(), await connection.recv()])

        async with server(handler) as url, asyncio.timeout(SECONDS):
            link = await transport.connect(url, print)
            await link.send('{"id":1}')
            await link.send("币安")
            assert await received == ['{"id":1}', "币安"]
            await link.close()


class TestEnd:
    async def test_code_and_reason_of_the_server(self, transport: Transport) -> None:
        async def handler(connection: ServerConnection) -> None:
            await connection.send("last words")
            await connection.close(1008, "Pong timeout")

        received, closed = await listen(transport, handler)
        assert (received, closed) == ([b"last words"], Closed(1008, "Pong timeout"))

    async def test_a_close_frame_without_a_code(self, transport: Transport) -> None:
        answers = []

        async def handler(connection: ServerConnection) -> None:
            connection.transport.write(b"\x88\x00")
            await connection.wait_closed()
            answers.append(connection.close_code)

        _, closed = await listen(transport, handler)
        assert closed == Closed(1005, "")
        assert set(answers) <= {1000, 1005}, "1005 itself must not be sent"

    async def test_an_abrupt_end_is_1006(self, transport: Transport) -> None:
        async def handler(connection: ServerConnection) -> None:
            await connection.send("last words")
            connection.transport.abort()

        _, closed = await listen(transport, handler)
        assert closed.code == 1006
        assert closed.reason

    async def test_sending_afterwards_is_no_error(self, transport: Transport) -> None:
        async def handler(connection: ServerConnection) -> None:
            await connection.close()

        async with server(handler) as url, asyncio.timeout(SECONDS):
            link = await transport.connect(url, print)
            await link.read()
            await link.send("too late")
            await link.close()

    async def test_close_ends_the_reading(self, transport: Transport) -> None:
        async with server(stay) as url, asyncio.timeout(SECONDS):
            link = await transport.connect(url, print)
            reading = asyncio.create_task(link.read())
            await link.close()
            assert (await reading).code == 1000

    async def test_close_waits_no_longer_than_its_limit(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_limit(transport, monkeypatch, CLOSE_SECONDS=0.05)

        is_over = asyncio.Event()

        async def handler(connection: ServerConnection) -> None:
            connection.transport.pause_reading()  # it never sees our close frame
            await is_over.wait()

        async with server(handler, close_timeout=0.01) as url, asyncio.timeout(SECONDS):
            link = await transport.connect(url, print)
            reading = asyncio.create_task(link.read())
            await link.close()
            assert (await reading).code == 1006
            is_over.set()

    async def test_an_error_of_the_receiver_is_not_hidden(self, transport: Transport) -> None:
        def fail(_: bytes) -> None:
            raise ZeroDivisionError("a bug")

        async def handler(connection: ServerConnection) -> None:
            await connection.send("a")
            await connection.wait_closed()

        async with server(handler) as url, asyncio.timeout(SECONDS):
            link = await transport.connect(url, fail)
            with pytest.raises(ZeroDivisionError):
                await link.read()
            await link.close()


class TestConnect:
    async def test_nobody_listens(self, transport: Transport) -> None:
        taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        taken.close()
        await taken.wait_closed()
        with pytest.raises(ConnectError, match=r"refused|Connect call failed"):
            await transport.connect(f"ws://127.0.0.1:{port}/stream", print)

    async def test_the_handshake_is_refused(self, transport: Transport) -> None:
        def refuse(connection: ServerConnection, _: Request) -> Response:
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "Too many connections.")

        async with server(stay, process_request=refuse) as url:
            with pytest.raises(ConnectError, match="429"):
                await transport.connect(url, print)

    async def test_the_server_hangs_up(self, transport: Transport) -> None:
        async with raw_server(lambda _, writer: writer.close()) as url:
            with pytest.raises(ConnectError):
                await transport.connect(url, print)

    async def test_the_server_speaks_something_else(self, transport: Transport) -> None:
        def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail ready\r\n\r\n")
            writer.close()

        async with raw_server(greet) as url:
            with pytest.raises(ConnectError):
                await transport.connect(url, print)

    async def test_the_server_says_nothing(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_limit(transport, monkeypatch, CONNECT_SECONDS=0.05)
        async with raw_server(lambda _reader, _writer: None) as url, asyncio.timeout(SECONDS):
            with pytest.raises(ConnectError, match=r"(?i)time"):
                await transport.connect(url, print)

    @pytest.mark.parametrize("url", ["ws://", "http://127.0.0.1/"])
    async def test_the_address_is_none(self, transport: Transport, url: str) -> None:
        with pytest.raises(ConnectError):
            await transport.connect(url, print)


@asynccontextmanager
async def raw_server(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object],
) -> AsyncIterator[str]:
    """Serve TCP on loopback; connections are closed at the end."""
    writers = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        handler(reader, writer)

    running = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}/stream"
    finally:
        running.close()
        for writer in writers:
            writer.close()
        await running.wait_closed()


class Session:
    """A subscription to trades at the simulated exchange, and what came of it."""

    def __init__(self) -> None:
        self.ids: dict[str, list[int]] = defaultdict(list)
        self.controls: list[dict[str, Any]] = []
        self.link: Link

    def take(self, message: bytes) -> None:
        parsed = json.loads(message)
        if "stream" in parsed:
            self.ids[parsed["stream"]].append(parsed["data"]["t"])
        else:
            self.controls.append(parsed)

    @property
    def count(self) -> int:
        return sum(map(len, self.ids.values()))


class TestExchange:
    @asynccontextmanager
    async def session(
        self, transport: Transport, symbols: int = 5, **settings: Any
    ) -> AsyncIterator[tuple[Exchange, Session]]:
        defaults: dict[str, Any] = {"port": 0, "rate": 500, "history_s": 60, "symbols": symbols}
        async with Exchange(Settings(**defaults | settings)) as exchange, asyncio.timeout(SECONDS):
            session = Session()
            url = exchange.url.replace("http", "ws", 1) + "/stream"
            session.link = await transport.connect(url, session.take)
            try:
                yield exchange, session
            finally:
                await session.link.close()

    async def test_trades_with_consecutive_ids(self, transport: Transport) -> None:
        async with self.session(transport) as (exchange, session):
            reading = asyncio.create_task(session.link.read())
            streams = await trade_streams(exchange)
            await session.link.send(control_message("SUBSCRIBE", streams, 1))
            await until(lambda: session.count >= 500 and len(session.ids) == len(streams))
            await session.link.close()
            await reading
        assert session.controls == [{"result": None, "id": 1}]
        for ids in session.ids.values():
            assert ids == list(range(ids[0], ids[0] + len(ids)))

    async def test_lives_on_pings(self, transport: Transport) -> None:
        limits = Settings().limits.override("ping_interval_s", "0.05")
        limits = limits.override("pong_timeout_s", "0.3").override("messages_per_second", "off")
        async with self.session(transport, limits=limits) as (_, session):
            reading = asyncio.create_task(session.link.read())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(reading), 0.8)
            await session.link.close()
            await reading

    async def test_the_end_of_its_life(self, transport: Transport) -> None:
        limits = Settings().limits.override("lifetime_s", "0.1")
        async with self.session(transport, limits=limits) as (_, session):
            assert (await session.link.read()).code == 1008

    async def test_a_cut(self, transport: Transport) -> None:
        async with self.session(transport) as (exchange, session):
            reading = asyncio.create_task(session.link.read())
            assert exchange.websockets.cut() == 1
            assert (await reading).code == 1006

    async def test_too_many_messages(self, transport: Transport) -> None:
        async with self.session(transport) as (_, session):
            for _ in range(8):
                await session.link.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
            assert await session.link.read() == Closed(1008, "Too many requests")

    async def test_too_many_attempts(self, transport: Transport) -> None:
        limits = Settings().limits.override("connections_per_window", "1")
        async with self.session(transport, limits=limits) as (exchange, _):
            with pytest.raises(ConnectError, match="429"):
                await transport.connect(exchange.url.replace("http", "ws", 1) + "/stream", print)


async def trade_streams(exchange: Exchange) -> tuple[str, ...]:
    async with aiohttp.ClientSession() as client, client.get(f"{exchange.url}/sim/status") as found:
        symbols = (await found.json())["symbols"]
    return tuple(f"{symbol.lower()}@trade" for symbol in symbols)
