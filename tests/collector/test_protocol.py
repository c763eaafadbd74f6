import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.protocol import (
    MAX_STREAMS_PER_CONNECTION,
    AttemptLimiter,
    batches,
    control_message,
    control_problem,
    is_server_shutdown,
    plan_shards,
)

SYMBOLS = [f"S{number}USDT" for number in range(12)]


@given(
    st.lists(st.from_regex(r"[A-Z0-9]{2,8}USDT", fullmatch=True), unique=True, max_size=40),
    st.lists(st.sampled_from(["trade", "kline_1m", "bookTicker"]), unique=True, max_size=3),
    st.integers(1, 20),
)
def test_every_stream_is_on_exactly_one_connection(symbols, channels, size) -> None:
    shards = plan_shards(symbols, channels, size)
    streams = [stream for shard in shards for stream in shard.streams]
    assert sorted(streams) == sorted(f"{s.lower()}@{c}" for s in symbols for c in channels)
    assert all(0 < len(shard.streams) <= size for shard in shards)
    assert len({shard.name for shard in shards}) == len(shards)


def test_a_connection_carries_one_kind_of_stream() -> None:
    for shard in plan_shards(["A", "B"], ["trade", "kline_1m"], MAX_STREAMS_PER_CONNECTION):
        assert len({stream.split("@")[1] for stream in shard.streams}) == 1


@given(
    st.lists(st.lists(st.sampled_from(SYMBOLS), unique=True), min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_plans_follow_the_symbols_and_move_nothing(wishes: list[list[str]], size: int) -> None:
    channels = ["trade", "kline_1m"]
    shards = plan_shards([], channels, size)
    for symbols in wishes:
        before = {stream: shard.name for shard in shards for stream in shard.streams}
        shards = plan_shards(symbols, channels, size, shards)
        after = {stream: shard.name for shard in shards for stream in shard.streams}
        assert after.keys() == {f"{s.lower()}@{c}" for s in symbols for c in channels}
        assert len(after) == sum(len(shard.streams) for shard in shards)
        assert all(0 < len(shard.streams) <= size for shard in shards)
        assert all(after[stream] == before[stream] for stream in after.keys() & before.keys())
        assert all(shard.name == f"{shard.channel}-{n}" for shard, n in _numbered(shards))
        assert {name.rpartition("-")[0] for name in after.values()} <= set(channels)


def _numbered(shards):
    return [(shard, int(shard.name.rpartition("-")[2])) for shard in shards]


def test_new_streams_go_where_there_is_room() -> None:
    shards = plan_shards(["A", "B", "C"], ["trade"], 2)
    assert [shard.name for shard in shards] == ["trade-0", "trade-1"]
    shards = plan_shards(["A", "B", "C", "D", "E"], ["trade"], 2, shards)
    assert [shard.streams for shard in shards] == [
        ("a@trade", "b@trade"),
        ("c@trade", "d@trade"),
        ("e@trade",),
    ]


def test_a_shard_that_loses_all_its_streams_ends_and_its_name_with_it() -> None:
    shards = plan_shards(["A", "B"], ["trade"], 1)
    shards = plan_shards(["A", "C"], ["trade"], 1, shards)
    assert [(shard.name, shard.streams) for shard in shards] == [
        ("trade-0", ("a@trade",)),
        ("trade-2", ("c@trade",)),
    ]


def test_streams_are_subscribed_in_parts() -> None:
    streams = tuple(f"s{number}@trade" for number in range(450))
    parts = list(batches(streams))
    assert [len(part) for part in parts] == [200, 200, 50]
    assert tuple(stream for part in parts for stream in part) == streams


def test_a_control_message_keeps_names_as_they_are() -> None:
    text = control_message("UNSUBSCRIBE", ("币安人生usdt@trade",), 7)
    assert "币安人生usdt@trade" in text
    assert json.loads(text) == {
        "method": "UNSUBSCRIBE",
        "params": ["币安人生usdt@trade"],
        "id": 7,
    }


@given(st.lists(st.floats(0, 400), max_size=60), st.integers(1, 5))
def test_attempts_never_exceed_the_window(gaps: list[float], limit: int) -> None:
    limiter = AttemptLimiter(limit=limit, window=300.0)
    now, made = 0.0, []
    for gap in gaps:
        now += gap
        wait = limiter.reserve(now)
        assert wait >= 0
        made.append(now + wait)
        now += wait
    for start in made:
        assert len([time for time in made if start <= time < start + 299.999]) <= limit


def test_attempts_booked_at_once_are_spread() -> None:
    limiter = AttemptLimiter(limit=2, window=10.0)
    assert [limiter.reserve(0.0) for _ in range(5)] == [0, 0, 10, 10, 20]


@pytest.mark.parametrize(
    ("control", "problem"),
    [
        ({"code": 2, "msg": "Invalid request"}, "2: Invalid request"),
        ({"code": 0, "msg": "Unknown property", "id": 7}, "0: Unknown property"),
        ({"result": None, "id": 1}, None),
        ({"result": ["btcusdt@trade"], "id": 1}, None),
        ({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}, None),
    ],
)
def test_control_problem(control: dict[str, object], problem: str | None) -> None:
    assert control_problem(control) == problem


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ({"e": "serverShutdown", "E": 1}, True),
        ({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}, True),
        ({"result": None, "id": 1}, False),
        ({"data": [1]}, False),
        ({"e": "trade"}, False),
    ],
)
def test_is_server_shutdown(control: dict[str, object], expected: bool) -> None:
    assert is_server_shutdown(control) is expected
