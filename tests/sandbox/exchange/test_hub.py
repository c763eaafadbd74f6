import asyncio
from types import SimpleNamespace
from typing import cast

from aiohttp import web

from sandbox.exchange.control import Session
from sandbox.exchange.faults import Fault, FaultPlan
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


def faulty(*faults: Fault) -> tuple[Hub, list[float]]:
    """A hub with these faults, and its clock: change the one entry to let time pass."""
    now = [100.0]
    plan = FaultPlan(lambda: now[0])
    for fault in faults:
        plan.add(fault)
    return Hub(None, plan, lambda: now[0]), now


def flushed(hub: Hub, wire: Wire) -> bytes:
    hub.flush()
    written, wire.written = wire.written, b""
    return written


def test_a_fault_strikes_a_message_on_all_connections_or_on_none() -> None:
    hub, _ = faulty(Fault("drop", channel="*", every=2))
    wires = [connect(hub, "a@trade", combined=False)[1] for _ in range(2)]
    hub.publish("a@trade", lambda _unit: [b"1", b"2", b"3"])
    assert [flushed(hub, wire) for wire in wires] == [frame(b"1") + frame(b"3")] * 2
    assert hub.publish("a@trade", lambda _unit: [b"4"]) == 2  # meant to be sent
    assert [flushed(hub, wire) for wire in wires] == [b"", b""]


def test_messages_are_sent_twice_on_some_connections() -> None:
    hub, _ = faulty(Fault("duplicate", connections=1, count=1))
    first, second = (connect(hub, "a@trade", combined=False)[1] for _ in range(2))
    hub.publish("a@trade", lambda _unit: [b"1", b"2"])
    assert flushed(hub, first) == frame(b"1") + frame(b"1") + frame(b"2")
    assert flushed(hub, second) == frame(b"1") + frame(b"2")


def test_a_delayed_stream_keeps_its_order_and_others_do_not_wait() -> None:
    hub, now = faulty(Fault("delay", symbol="A", delay_seconds=2.0, count=2))
    _, wire = connect(hub, "a@trade", "b@trade", combined=False)
    for stream, message in (("a@trade", b"1"), ("b@trade", b"x"), ("a@trade", b"2")):
        hub.publish(stream, lambda _unit, message=message: [message])  # type: ignore[misc]
    hub.publish("a@trade", lambda _unit: [b"3"])  # the fault is over, its delay is not
    assert flushed(hub, wire) == frame(b"x")
    now[0] += 2.0
    hub.publish("a@trade", lambda _unit: [b"4"])
    assert flushed(hub, wire) == frame(b"1") + frame(b"2") + frame(b"3") + frame(b"4")
    hub.publish("a@trade", lambda _unit: [b"5"])
    assert flushed(hub, wire) == frame(b"5")


def test_a_message_is_overtaken() -> None:
    hub, now = faulty(Fault("reorder", delay_seconds=0.5, count=1))
    _, wire = connect(hub, "a@trade", combined=False)
    hub.publish("a@trade", lambda _unit: [b"1", b"2"])
    assert flushed(hub, wire) == frame(b"2")
    now[0] += 0.5
    assert flushed(hub, wire) == frame(b"1")


def test_a_connection_ends_in_the_middle_of_a_frame() -> None:
    hub, _ = faulty(Fault("half_frame", after=1, count=1))
    _, wire = connect(hub, "a@trade", combined=False)
    hub.publish("a@trade", lambda _unit: [b"first", b"second", b"third"])
    hub.flush()
    whole = frame(b"first") + frame(b"second")
    assert wire.cut
    assert wire.written == whole[: len(frame(b"first")) + len(frame(b"second")) // 2]


def test_a_stalled_connection_gets_nothing() -> None:
    hub, now = faulty()
    connection, wire = connect(hub, "a@trade", combined=False)
    hub.stall(connection, 3.0)
    hub.publish("a@trade", lambda _unit: [b"1"])
    now[0] += 3.0
    hub.publish("a@trade", lambda _unit: [b"2"])
    assert flushed(hub, wire) == frame(b"2")


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
