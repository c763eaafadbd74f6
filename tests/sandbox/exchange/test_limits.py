import pytest

from sandbox.exchange.limits import (
    ConnectionAttempts,
    Keepalive,
    Limits,
    RateWindow,
    Verdict,
    WeightMeter,
)


def test_the_defaults_are_the_documented_limits() -> None:
    limits = Limits()
    assert limits.messages_per_second == 5
    assert limits.streams_per_connection == 1024
    assert (limits.connections_per_window, limits.connections_window_s) == (300, 300)
    assert (limits.ping_interval_s, limits.pong_timeout_s) == (20, 60)
    assert limits.lifetime_s == 24 * 3600
    assert limits.weight_per_minute == 6000


def test_single_limits_can_be_overridden() -> None:
    limits = Limits.off().override("ping_interval_s", "0.5").override("messages_per_second", "7")
    assert (limits.ping_interval_s, limits.messages_per_second) == (0.5, 7)
    assert limits.override("ping_interval_s", "off").ping_interval_s is None


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("pings", "1", "limit 'pings' is unknown; the limits are messages_per_second"),
        ("lifetime_s", "soon", "limit lifetime_s: expected a positive number or off, was 'soon'"),
        ("messages_per_second", "0", "expected a positive number or off, was '0'"),
    ],
)
def test_a_wrong_override_names_the_remedy(name: str, value: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Limits().override(name, value)


def test_a_window_slides() -> None:
    window = RateWindow(5, 1.0)
    assert [window.allow(t / 10) for t in range(6)] == [True] * 5 + [False]
    assert window.allow(1.0)
    assert not window.allow(1.05)


def test_attempts_are_counted_per_address() -> None:
    attempts = ConnectionAttempts(Limits(connections_per_window=2))
    assert [attempts.allow("a", 0), attempts.allow("a", 1), attempts.allow("a", 2)] == [
        True, True, False,
    ]  # fmt: skip
    assert attempts.allow("b", 2)
    assert attempts.allow("a", 300)


def test_pings_come_every_20_s_and_pongs_must_echo_them() -> None:
    keepalive = Keepalive(Limits(), now=0)
    assert keepalive.ping_due(19.9) is None
    first = keepalive.ping_due(20)
    assert first
    assert keepalive.ping_due(39) is None
    keepalive.pong(b"")
    keepalive.pong(b"unsolicited")
    assert keepalive.expired(79) is None
    assert keepalive.expired(80) == "Pong timeout"
    keepalive.pong(first)
    assert keepalive.expired(80) is None


def test_a_later_pong_settles_earlier_pings() -> None:
    keepalive = Keepalive(Limits(), now=0)
    keepalive.ping_due(20)
    second = keepalive.ping_due(40)
    assert second
    keepalive.pong(second)
    assert keepalive.expired(99) is None


def test_a_connection_lives_24_hours() -> None:
    keepalive = Keepalive(Limits(ping_interval_s=None), now=10)
    assert keepalive.expired(10 + 86_399) is None
    assert keepalive.expired(10 + 86_400) == "Connection lifetime reached"


def test_weights_are_counted_per_minute_and_address() -> None:
    meter = WeightMeter(Limits(weight_per_minute=50))
    assert meter.charge("a", 25, 0) == Verdict(200, 25)
    assert meter.charge("a", 25, 1) == Verdict(200, 50)
    assert meter.charge("a", 1, 14.5) == Verdict(429, 51, 46)
    assert meter.charge("b", 1, 14.5) == Verdict(200, 1)
    assert meter.charge("a", 4, 60) == Verdict(200, 4)


def test_going_on_after_429_is_banned_for_longer_and_longer() -> None:
    limits = Limits(weight_per_minute=1, rejections_until_ban=2, longest_ban_s=300)
    meter = WeightMeter(limits)
    assert [meter.charge("a", 1, 0).status for _ in range(4)] == [200, 429, 429, 418]
    assert meter.charge("a", 1, 20) == Verdict(418, 4, 100)
    assert meter.charge("a", 1, 120).status == 200
    assert [meter.charge("a", 1, 121).status for _ in range(3)] == [429, 429, 418]
    assert meter.charge("a", 1, 121).retry_after_s == 240
    assert [meter.charge("a", 1, 400).status for _ in range(4)] == [200, 429, 429, 418]
    assert meter.charge("a", 1, 400).retry_after_s == 300


def test_limits_that_are_off_never_bite() -> None:
    limits = Limits.off()
    meter, window = WeightMeter(limits), RateWindow(limits.messages_per_second, 1.0)
    assert all(meter.charge("a", 1000, 0).status == 200 for _ in range(100))
    assert all(window.allow(0) for _ in range(100))
    keepalive = Keepalive(limits, 0)
    assert keepalive.ping_due(20)
    assert keepalive.expired(10**9) is None
