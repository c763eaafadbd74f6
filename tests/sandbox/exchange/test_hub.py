import asyncio
from types import SimpleNamespace
from typing import cast

from aiohttp import web

from sandbox.exchange.control import Session
from sandbox.exchange.frames import frame
from sandbox.exchange.hub import Connection, Hub
from sandbox.exchange.limits import Keepalive, Limits, RateWindow
from sandbox.exchange.payloads import MICROSECOND, MILLISECOND


class Wire:
    """A transport that keeps what is written, standing in for asyncio's."""

    def __init__(self) -> None:
        self.written = b""
        self.unread = 0
        self.cut = False

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.cut

    def abort(self) -> None:
        self.cut = True


def connect(
    hub: Hub, *streams: str, combined: bool = True, unit: int = MILLISECOND
) -> tuple[Connection, Wire]:
    wire = Wire()
    session = Session(combined, None)
    connection = Connection(
        cast("web.WebSocketResponse", SimpleNamespace()), cast("asyncio.Transport", wire), session,
        unit, Keepalive(Limits.off(), 0), RateWindow(None, None),
    )  # fmt: skip
    hub.add(connection)
    hub.subscribe(connection, session.subscribe(streams))
    return connection, wire


def test_every_subscriber_gets_its_own_variant() -> None:
    hub = Hub(None)
    _, combined = connect(hub, "a@trade")
    _, raw = connect(hub, "a@trade", combined=False)
    _, micro = connect(hub, "a@trade", combined=False, unit=MICROSECOND)
    _, other = connect(hub, "b@trade")
    assert hub.publish("a@trade", lambda unit: [b"%d" % unit, b"x"]) == 3
    hub.flush()
    envelope = b'{"stream":"a@trade","data":%b}'
    assert combined.written == frame(envelope % b"1000") + frame(envelope % b"x")
    assert raw.written == frame(b"1000") + frame(b"x")
    assert micro.written == frame(b"1") + frame(b"x")
    assert other.written == b""
    assert hub.sent_messages == 6


def test_nothing_is_encoded_for_nobody() -> None:
    hub = Hub(None)
    connection, _ = connect(hub, "a@trade")
    hub.unsubscribe(connection, ["a@trade"])
    assert hub.publish("a@trade", lambda _unit: [][0]) == 0
    assert not hub.has_subscribers("a@trade")


def test_the_seam_decides_what_goes_out() -> None:
    hub = Hub(None, seam=lambda stream, message: [message, stream.encode()])
    _, wire = connect(hub, "a@trade", combined=False)
    hub.publish("a@trade", lambda _unit: [b"x"])
    hub.flush()
    assert wire.written == frame(b"x") + frame(b"a@trade")


def test_a_client_that_reads_too_slowly_is_cut() -> None:
    hub = Hub(send_buffer_bytes=100)
    _, slow = connect(hub, "a@trade")
    _, good = connect(hub, "a@trade")
    slow.unread, good.unread = 101, 100
    hub.flush()
    assert (slow.cut, good.cut) == (True, False)
    assert hub.slow_disconnects == 1
    assert hub.publish("a@trade", lambda _unit: [b"x"]) == 1


def test_a_connection_that_left_is_forgotten() -> None:
    hub = Hub(None)
    connection, _ = connect(hub, "a@trade", "b@trade")
    hub.remove(connection)
    assert list(hub.live_connections()) == []
    assert not hub.has_subscribers("b@trade")
