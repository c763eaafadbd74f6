from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.exchange.catalogue import trading_instruments
from sandbox.exchange.fixed_point import multiply_truncated
from sandbox.exchange.market import BLOCK_US, ORIGIN_US, Aggregate, Market, block_at

START_BLOCK = block_at(1_790_000_040_000_000)


def market(seed: int = 7, rate: int = 50, symbols: int = 8) -> Market:
    return Market(trading_instruments(symbols), seed, rate)


def by_symbol(aggregates: Iterable[Aggregate]) -> dict[int, list[Aggregate]]:
    out: dict[int, list[Aggregate]] = {}
    for aggregate in aggregates:
        out.setdefault(aggregate.symbol, []).append(aggregate)
    return out


@settings(max_examples=20)
@given(st.integers(min_value=0, max_value=10**9), st.permutations(range(6)))
def test_a_block_is_a_function_of_seed_and_time_alone(offset: int, order: list[int]) -> None:
    blocks = {i: market().block(offset + i) for i in range(6)}
    shuffled = market()
    assert {i: shuffled.block(offset + i) for i in order} == blocks


def test_another_seed_is_another_market() -> None:
    assert market(7).block(START_BLOCK) != market(8).block(START_BLOCK)


@settings(max_examples=20)
@given(st.integers(min_value=0, max_value=10**9), st.sampled_from([5, 50, 2000]))
def test_ids_are_consecutive_and_times_never_go_back(offset: int, rate: int) -> None:
    one = market(rate=rate)
    aggregates = [a for i in range(4) for a in one.block(offset + i)]
    for symbol, mine in by_symbol(aggregates).items():
        state = one.symbols[symbol]
        next_aggregate, next_trade = state.aggregates_before(offset), state.trades_before(offset)
        time_us = ORIGIN_US + offset * BLOCK_US
        for aggregate in mine:
            assert aggregate.aggregate_id == next_aggregate
            assert aggregate.first_id == next_trade
            assert aggregate.time_us >= time_us
            next_aggregate, next_trade = next_aggregate + 1, aggregate.last_id + 1
            time_us = aggregate.time_us
        assert state.aggregates_before(offset + 4) == next_aggregate
        assert state.trades_before(offset + 4) == next_trade


def test_numbers_fit_the_tick_and_lot_sizes_and_add_up() -> None:
    one = market(rate=500)
    for aggregate in one.block(START_BLOCK):
        instrument = one.symbols[aggregate.symbol].instrument
        assert aggregate.price > 0
        assert aggregate.price % instrument.tick == 0
        assert all(fill > 0 and fill % instrument.step == 0 for fill in aggregate.fills)
        assert aggregate.quantity == sum(aggregate.fills)
        assert aggregate.quote_quantity == sum(
            multiply_truncated(aggregate.price, fill) for fill in aggregate.fills
        )


def test_the_market_is_bursty_skewed_and_has_quiet_minutes() -> None:
    one = Market(trading_instruments(20), 7, 100)
    aggregates = [a for i in range(180) for a in one.block(START_BLOCK + i)]
    trades = sum(len(a.fills) for a in aggregates)
    assert 100 * 180 * 0.4 < trades < 100 * 180 * 1.8
    counts = {s: sum(len(a.fills) for a in mine) for s, mine in by_symbol(aggregates).items()}
    assert counts[0] > counts[1] > counts[4]
    shared = sum(
        len(mine) - len({a.time_us // 1000 for a in mine})
        for mine in by_symbol(aggregates).values()
    )
    assert shared > len(aggregates) / 5
    assert max(len(a.fills) for a in aggregates) >= 10
    quiet = one.symbols[7]
    assert quiet.instrument.quiet_per_hour
    minutes = [
        quiet.aggregates_before(START_BLOCK + 60 * m + 60)
        - quiet.aggregates_before(START_BLOCK + 60 * m)
        for m in range(60)
    ]
    assert minutes.count(0) > 10
    assert sum(minutes) > 5


def test_the_block_of_an_aggregate_is_found() -> None:
    one = market()
    for aggregate in one.block(START_BLOCK):
        symbol = one.symbols[aggregate.symbol]
        assert symbol.block_of_aggregate(aggregate.aggregate_id, 0, START_BLOCK + 500) == (
            START_BLOCK
        )


def test_a_calm_ends_where_it_is_told_to_and_ids_go_on() -> None:
    calm = Market(trading_instruments(8), 7, 500, calm_rate=5)
    before = calm.block(START_BLOCK)
    calm.end_calm(START_BLOCK + 10)
    assert calm.block(START_BLOCK) == before
    counts = [sum(len(a.fills) for a in calm.block(START_BLOCK + i)) for i in range(20)]
    assert 0 < sum(counts[:10]) < 200 < 2000 < sum(counts[10:])
    for symbol in calm.symbols:
        ids = [a.aggregate_id for i in range(20) for a in symbol.block(START_BLOCK + i)]
        assert ids == list(
            range(symbol.aggregates_before(START_BLOCK), symbol.aggregates_before(START_BLOCK + 20))
        )
