import random
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Context, Decimal, localcontext
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.market_ops import candles as module
from plugins.market_ops.archive.rows import TIMESTAMP
from plugins.market_ops.candles import INTERVALS, candles, candles_of_batch

Row = tuple[str, int, Decimal, Decimal, bool, int]
EXACT = Context(prec=80)
DAY_US = 1_770_000_000_000_000 // 86_400_000_000 * 86_400_000_000


def batch(rows: list[Row], digits: int, scales: tuple[int, int]) -> pa.RecordBatch:
    kinds = [
        *(pa.string(), pa.int64(), pa.decimal128(digits, scales[0])),
        *(pa.decimal128(digits, scales[1]), pa.bool_(), pa.int64()),
    ]
    names = ["symbol", "trade_id", "price", "quantity", "is_buyer_maker", "traded_at"]
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
    columns[5] = columns[5].cast(TIMESTAMP)
    return pa.RecordBatch.from_arrays(columns, names)


def reference(rows: list[Row], minutes: int) -> list[dict[str, Any]]:
    """Compute candles the plain way."""
    with localcontext(EXACT):
        return _reference(rows, minutes)


def _reference(rows: list[Row], minutes: int) -> list[dict[str, Any]]:
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row[1]):
        start = row[5] // (minutes * 60_000_000) * minutes * 60_000_000
        groups.setdefault((row[0], start), []).append(row)
    found = []
    for (symbol, start), group in sorted(groups.items()):
        quotes = [(r[2] * r[3]).quantize(Decimal("1e-8"), ROUND_DOWN) for r in group]
        found.append({
            "symbol": symbol,
            "opened_at": datetime.fromtimestamp(start // 1_000_000, UTC),
            "open": group[0][2],
            "high": max(r[2] for r in group),
            "low": min(r[2] for r in group),
            "close": group[-1][2],
            "volume": sum(r[3] for r in group),
            "quote_volume": sum(quotes),
            "trades": len(group),
            "taker_buy_volume": sum(r[3] for r in group if not r[4]),
            "taker_buy_quote_volume": sum(
                q for q, r in zip(quotes, group, strict=True) if not r[4]
            ),
            "first_trade_id": group[0][1],
            "last_trade_id": group[-1][1],
        })  # fmt: skip
    return found


@st.composite
def trades(draw: st.DrawFn) -> tuple[list[Row], int, tuple[int, int]]:
    digits, scales = draw(
        st.sampled_from([(18, (2, 5)), (18, (8, 8)), (18, (0, 0)), (38, (9, 9)), (18, (8, 0))])
    )
    largest = draw(st.sampled_from([100, 10**9, 10**14, 10 ** (17 if digits == 18 else 18)]))
    if scales == (0, 0):
        largest = min(largest, 10**13)  # the sum of the products fits NUMERIC
    price, quantity = (
        st.integers(1, largest).map(lambda n, s=scale: Decimal(n).scaleb(-s)) for scale in scales
    )
    rows = [
        (symbol, number, draw(price), draw(quantity), draw(st.booleans()),
         DAY_US + draw(st.integers(0, 400)) * 15_000_000)
        for symbol in ("A", "币B")
        for number in draw(st.lists(st.integers(0, 2**62), max_size=10, unique=True))
    ]  # fmt: skip
    return rows, digits, scales


@given(trades(), st.randoms(use_true_random=False), st.sampled_from(list(INTERVALS)))
def test_candles_equal_the_plain_ones_whatever_the_batches(
    made: tuple[list[Row], int, tuple[int, int]], chance: random.Random, interval: str
) -> None:
    rows, digits, scales = made
    parts: list[list[Row]] = [[], [], []]
    for row in rows:
        chance.choice(parts).append(row)
    batches = [batch(sorted(part), digits, scales) for part in parts]
    found = candles(batches, interval).to_pylist()
    assert found == reference(rows, INTERVALS[interval])


@given(trades())
def test_both_ways_agree(made: tuple[list[Row], int, tuple[int, int]]) -> None:
    rows, digits, scales = made
    if rows:
        whole = batch(sorted(rows), digits, scales)
        assert module.coarser(candles_of_batch(whole), "1m") == module._slow(whole)


def test_usual_numbers_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module, "_slow")
    bitcoin = ("A", 1, Decimal("61837.63"), Decimal("0.00012"), True, DAY_US)
    pepe = ("B", 1, Decimal("0.00000722"), Decimal("10000000000"), True, DAY_US)
    assert len(candles([batch([bitcoin], 18, (2, 5)), batch([pepe], 18, (8, 0))])) == 2
    assert (
        len(
            candles(
                [batch([bitcoin, ("B", 1, Decimal(5000), Decimal(900), True, DAY_US)], 18, (8, 8))]
            )
        )
        == 2
    )


def test_no_trades_no_candles() -> None:
    assert candles([], "1d").num_rows == 0


def test_another_interval_is_an_error() -> None:
    with pytest.raises(KeyError):
        candles([], "7m")
