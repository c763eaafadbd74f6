import hashlib
import json
import random
import tempfile
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.market_ops.archive import compact, raw
from plugins.market_ops.archive.compact import (
    CompactionError,
    Hour,
    compact_hour,
    hours_received,
    manifest_of,
    removable,
    replaced,
)
from plugins.market_ops.archive.raw import CorruptObject
from plugins.market_ops.archive.rows import ConflictingTrades
from plugins.market_ops.archive.storage import FolderStore
from tests.plugins.samples import HOUR, HOUR_MS, Trade, line, put


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def trade(number: int, symbol: str = "BTCUSDT", price: str = "2.50000000", ms: int = 5) -> Trade:
    return symbol, number, price, "0.20000000", ms, True


def compacted(store: FolderStore, hour: Hour = HOUR) -> list[tuple[Any, ...]]:
    """Return the hour's rows object by object, in the objects' order."""
    rows: list[tuple[Any, ...]] = []
    for entry in manifest_of(store, hour)["objects"]:
        table = pq.read_table(store._root / entry["object"], partitioning=None)
        rows += [tuple(row.values()) for row in table.to_pylist()]
    return rows


def plain(trades: list[Trade]) -> list[tuple[str, int, Decimal, Decimal, bool]]:
    """Return what compaction must make of them, in plain Python."""
    return sorted({(s, n, Decimal(p), Decimal(q), side) for s, n, p, q, _, side in trades})


def decimals(digits: int, step: int) -> st.SearchStrategy[str]:
    return st.integers(1, 10**digits).map(lambda n: str(Decimal(n).scaleb(-step)))


@st.composite
def markets(draw: st.DrawFn) -> list[Trade]:
    """Draw trades of some symbols, ids in any order, each id one trade."""
    symbols = draw(st.sampled_from([("BTCUSDT",), ("1INCHUSDT", "币安人生USDT", "ETHBTC")]))
    price = st.integers(1, 10**12).map(lambda n: f"{Decimal(n).scaleb(-8):f}")
    wide = st.sampled_from(["1123473760214.0", "98765432109.87654321", "0.00000001"])
    quantity = st.one_of(price, wide)
    time = st.integers(0, 3_599_999)
    return [
        (symbol, number, draw(price), draw(quantity), draw(time), draw(st.booleans()))
        for symbol in symbols
        for number in draw(st.lists(st.integers(0, 2**62), max_size=12, unique=True))
    ]  # fmt: skip


@given(markets(), st.randoms(use_true_random=False), st.integers(1, 5), st.integers(1, 7))
def test_shuffled_repeated_and_split_inputs_become_the_sorted_set(
    trades: list[Trade], chance: random.Random, objects: int, max_rows: int
) -> None:
    copies = trades + [each for each in trades if chance.random() < 0.3]
    chance.shuffle(copies)
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        for number in range(objects):
            part = [line(each) for each in copies[number::objects]]
            put(store, f"{number}", part[::2], part[1::2])
        compact_hour(store, HOUR, max_rows=max_rows)
        assert [row[:5] for row in compacted(store)] == plain(trades)
        assert len(removable(store, HOUR)) == objects


def test_busy_symbols_have_objects_of_their_own(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "OWN_OBJECT_ROWS", 3)
    put(
        store,
        "a",
        [line(trade(n, s)) for n in (1, 2, 3) for s in ("A", "C")],
        [line(trade(1, "B"))],
    )
    compact_hour(store, HOUR)
    assert [e["symbols"] for e in manifest_of(store, HOUR)["objects"]] == [["B"], ["A"], ["C"]]


def test_manifest_has_control_totals_and_inputs(store: FolderStore) -> None:
    name = put(store, "a", [line(trade(n)) for n in (7, 3, 5, 5)])
    receipt = compact_hour(store, HOUR)
    manifest = manifest_of(store, HOUR)
    totals = {"count": 3, "sum_ids": 15, "first_id": 3, "last_id": 7}
    assert manifest["symbols"] == {"BTCUSDT": totals}
    assert list(manifest["inputs"]) == [name]
    assert receipt["objects"][name]["lines"] == 4
    assert receipt["objects"][name]["is_proven"]


def test_columns_are_exact_and_narrow(store: FolderStore) -> None:
    put(store, "a", [line(trade(1, price="61837.63000000"))])
    compact_hour(store, HOUR)
    (entry,) = manifest_of(store, HOUR)["objects"]
    schema = pq.read_schema(store._root / entry["object"])
    assert str(schema.field("price").type) == "decimal64(18, 2)"
    assert str(schema.field("quantity").type) == "decimal64(18, 1)"
    assert str(schema.field("traded_at").type) == "timestamp[ms, tz=UTC]"


def test_microseconds_stay(store: FolderStore) -> None:
    text = line(trade(1)).replace(b'"T":%d' % (HOUR_MS + 5), b'"T":%d' % (HOUR_MS * 1000 + 5001))
    put(store, "a", [text])
    compact_hour(store, HOUR)
    assert compacted(store)[0][5] == HOUR.start + timedelta(microseconds=5001)


def test_trades_lie_by_their_own_hour(store: FolderStore) -> None:
    put(store, "a", [line(trade(1, ms=-1)), line(trade(2, ms=0)), line(trade(3, ms=3_600_000))])
    compact_hour(store, HOUR)
    number = HOUR_MS // 3_600_000
    found = [[row[1] for row in compacted(store, HOUR.at(number + n))] for n in (-1, 0, 1)]
    assert found == [[1], [2], [3]]
    assert len(removable(store, HOUR)) == 1


def test_a_late_object_is_merged(store: FolderStore) -> None:
    later = HOUR.at(HOUR_MS // 3_600_000 + 1)
    put(store, "a", [line(trade(n)) for n in (1, 3)])
    compact_hour(store, HOUR)
    put(store, "b", [line(trade(n)) for n in (2, 3)])
    put(store, "c", [line(trade(4))], hour=later)
    for hour in hours_received(store, "spot"):
        compact_hour(store, hour)
    assert [row[1] for row in compacted(store)] == [1, 2, 3, 4]
    assert len(manifest_of(store, HOUR)["inputs"]) == 3
    assert len(replaced(store, HOUR)) == 2


def test_a_second_run_changes_nothing(store: FolderStore) -> None:
    put(store, "a", [line(trade(n)) for n in (1, 2)])
    first = compact_hour(store, HOUR)
    before = {name: store.read(name) for name in store.names("compact/")}
    assert compact_hour(store, HOUR) == first
    assert {name: store.read(name) for name in store.names("compact/")} == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "its SHA-256 is"),
        (lambda data: data[:40] + b"x" + data[41:], "its SHA-256 is"),
    ],
)
def test_a_corrupt_object_is_named(
    store: FolderStore, damage: Callable[[bytes], bytes], message: str
) -> None:
    put(store, "a", [line(trade(1))])
    name = put(store, "b", [line(trade(2))])
    store.write(name, damage(store.read(name)))
    with pytest.raises(CorruptObject, match=rf"b\.ndjson\.zst: {message}.*restore"):
        compact_hour(store, HOUR)
    assert store.names("compact/") == []


def test_a_cut_frame_is_named(store: FolderStore) -> None:
    """The object is as its manifest says, and was cut before that was written."""
    name = put(store, "a", [line(trade(1))], [line(trade(2))])
    manifest = name.replace(".ndjson.zst", ".manifest.json")
    data = store.read(name)[:-1]
    store.write(name, data)
    digest = {"sha256": hashlib.sha256(data).hexdigest()}
    store.write(manifest, json.dumps(json.loads(store.read(manifest)) | digest).encode())
    with pytest.raises(CorruptObject, match=r"a\.ndjson\.zst: its last frame is cut.*restore"):
        compact_hour(store, HOUR)
    assert store.names("compact/") == []


def test_lines_as_binance_sends_them_are_read_all_at_once(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "_decode_each", lambda *given: pytest.fail("line by line"))
    put(store, "a", [line(trade(n, s)) for n in (1, 2) for s in ("BTCUSDT", "币安人生USDT")])
    compact_hour(store, HOUR)
    assert manifest_of(store, HOUR)["trades"] == 4


def test_values_are_known_by_their_keys(store: FolderStore) -> None:
    swapped = line(trade(2, price="7.5")).replace(b'"p":', b'"q":', 1)
    swapped = swapped[::-1].replace(b'"q":'[::-1], b'"p":'[::-1], 1)[::-1]
    assert swapped.index(b'"q":"7.5"') < swapped.index(b'"p":"0.2')
    put(store, "a", [line(trade(1)), swapped])
    compact_hour(store, HOUR)
    assert [row[2:4] for row in compacted(store)] == [
        (Decimal("2.5"), Decimal("0.2")),
        (Decimal("0.2"), Decimal("7.5")),
    ]


def test_a_wrong_number_of_lines_is_named(store: FolderStore) -> None:
    name = put(store, "a", [line(trade(1))]).replace(".ndjson.zst", ".manifest.json")
    store.write(name, json.dumps(json.loads(store.read(name)) | {"lines": 2}).encode())
    with pytest.raises(CorruptObject, match="it has 1 lines, its manifest says 2"):
        compact_hour(store, HOUR)


def test_an_object_without_manifest_is_unfinished(store: FolderStore) -> None:
    store.write(f"{HOUR.raw_folder}a.ndjson.zst", b"half")
    assert compact_hour(store, HOUR)["objects"] == {}


def test_a_line_that_is_no_trade_keeps_its_object(store: FolderStore) -> None:
    bad = [
        b'{"received_at":1,"data":7}',
        line(trade(2, price="-1")),
        b"{",
        line(trade(3, price="1e2")),
    ]
    name = put(store, "a", [line(trade(1)), *bad])
    entry = compact_hour(store, HOUR)["objects"][name]
    assert (entry["lines"], entry["other_lines"]) == (5, 4)
    assert [row[1] for row in compacted(store)] == [1]
    assert removable(store, HOUR) == []


def test_trades_that_the_collector_counted_otherwise_keep_their_object(store: FolderStore) -> None:
    name = put(store, "a", [line(trade(1))]).replace(".ndjson.zst", ".manifest.json")
    manifest = json.loads(store.read(name))
    manifest["frames"][0]["symbols"]["BTCUSDT"]["sum_ids"] += 1
    store.write(name, json.dumps(manifest).encode())
    compact_hour(store, HOUR)
    assert removable(store, HOUR) == []


def test_two_trades_of_one_id_stop_the_run(store: FolderStore) -> None:
    put(store, "a", [line(trade(7)), line(trade(7, price="2.6"))])
    with pytest.raises(
        ConflictingTrades, match=r"BTCUSDT, trade 7: .* at 2\.5.* and as .* at 2\.6"
    ):
        compact_hour(store, HOUR)
    assert store.names("compact/") == []


def test_what_reads_back_otherwise_is_an_error(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", [line(trade(n)) for n in (1, 2)])
    to_arrow = compact.to_arrow
    monkeypatch.setattr(compact, "to_arrow", lambda *given: to_arrow(*given)[:1])
    with pytest.raises(CompactionError, match=r"BTCUSDT reads back as .*count=1"):
        compact_hour(store, HOUR)
    assert removable(store, HOUR) == []


def test_a_compacted_object_that_changed_is_named(store: FolderStore) -> None:
    put(store, "a", [line(trade(1))])
    compact_hour(store, HOUR)
    (entry,) = manifest_of(store, HOUR)["objects"]
    store.write(entry["object"], b"x")
    put(store, "b", [line(trade(2))])
    with pytest.raises(CompactionError, match=r"\.parquet: its SHA-256 is not"):
        compact_hour(store, HOUR)
