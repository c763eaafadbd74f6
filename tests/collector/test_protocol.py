import json

from hypothesis import given
from hypothesis import strategies as st

from collector.protocol import (
    MAX_STREAMS_PER_CONNECTION,
    AttemptLimiter,
    plan_shards,
    subscribe_messages,
)


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


def test_streams_are_subscribed_in_batches() -> None:
    streams = tuple(f"s{number}@trade" for number in range(450))
    messages = [json.loads(message) for message in subscribe_messages(streams)]
    assert [message["id"] for message in messages] == [1, 2, 3]
    assert [stream for message in messages for stream in message["params"]] == list(streams)
    assert {message["method"] for message in messages} == {"SUBSCRIBE"}


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
