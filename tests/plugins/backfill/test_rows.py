"""Daily files are read exactly, and what is mangled is named."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.market_ops.backfill.rows import Mangled, Reader
from plugins.market_ops.backfill.vision import VisionError
from tests.plugins.backfill.samples import DAY, START, kline_rows, save, trade_rows

GOOD = [(1, "60000.10", "0.20000000", 0, True), (2, "0.00000001", "1", 86_399_999_999, False)]


def read(folder: Path, text: str, kind: str = "trades", day: date = DAY) -> list[dict[str, Any]]:
    path = save(folder, f"BTCUSDT-{kind}-{day}", text)
    return [row for table in Reader(path, kind, day).batches() for row in table.to_pylist()]


def test_trades_are_exact(tmp_path: Path) -> None:
    first, second = read(tmp_path, trade_rows(GOOD))
    assert first == {
        "trade_id": 1,
        "price": Decimal("60000.1"),
        "quantity": Decimal("0.2"),
        "quote_quantity": Decimal("12000.02"),
        "traded_at": datetime(2026, 3, 1, tzinfo=UTC),
        "is_buyer_maker": True,
        "is_best_match": True,
    }
    assert second["price"] == Decimal("0.00000001")
    assert second["traded_at"] == datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    assert second["is_buyer_maker"] is False


def test_ms_or_us_header_or_none_are_the_same(tmp_path: Path) -> None:
    rows = [(1, "1.5", "2", 1000, True)]
    header = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n"
    expected = read(tmp_path, trade_rows(rows))
    assert read(tmp_path, trade_rows(rows, unit=1000)) == expected
    assert read(tmp_path, header + trade_rows(rows)) == expected
    assert read(tmp_path, trade_rows(rows).replace("True", "true")) == expected
    assert read(tmp_path, trade_rows(rows).replace("\n", "\r\n")) == expected


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path, "") == []


def test_invalidated_aggregates_are_dropped_and_counted(tmp_path: Path) -> None:
    lines = [
        f"1,1.0,1.0,1,2,{START},True,True",
        f"2,0,0,-1,-1,{START},True,True",
        f"3,1.0,1.0,3,3,{START},True,True",
    ]
    path = save(tmp_path, "A-aggTrades-2026-03-01", "\n".join(lines) + "\n")
    reader = Reader(path, "aggTrades", DAY)
    assert [row["agg_trade_id"] for table in reader.batches() for row in table.to_pylist()] == [
        1,
        3,
    ]
    assert (reader.rows, reader.invalidated) == (2, 1)


MANGLED = {
    "no number": ("1,6x,1,1,{t},True,True", "line 3, price: expected a decimal above 0, was '6x'"),
    "empty": ("1,,1,1,{t},True,True", "line 3, price: expected a decimal above 0, was ''"),
    "zero": ("9,0,1,1,{t},True,True", "line 3, price: expected a decimal above 0, was 0"),
    "negative": ("9,1,-1,1,{t},True,True", "line 3, quantity: .* was -1"),
    "nan": ("9,nan,1,1,{t},True,True", "line 3, price: .* was 'nan'"),
    "too fine": ("9,1.0000000001,1,1,{t},True,True", "line 3, price: .* was '1.0000000001'"),
    "no id": ("x,1,1,1,{t},True,True", "line 3, trade_id: expected an id, was 'x'"),
    "same id": ("2,1,1,1,{t},True,True", "line 3, trade_id: expected more than before it, was 2"),
    "other day": ("9,1,1,1,1000000000000,True,True", "line 3, traded_at: expected a time on 2026"),
    "no flag": ("9,1,1,1,{t},maybe,True", "line 3, is_buyer_maker: .* was 'maybe'"),
    "too few": ("9,1,1,1,{t},True", "line 3: expected 7 columns, was 6"),
    "too many": ("9,1,1,1,{t},True,True,5", "line 3: expected 7 columns, was 8"),
    "nothing": ("", "line 3: expected 7 columns, was 0"),
}


@pytest.mark.parametrize(("line", "message"), MANGLED.values(), ids=MANGLED)
@pytest.mark.parametrize("header", [False, True])
def test_mangled_rows_are_named(tmp_path: Path, line: str, message: str, header: bool) -> None:
    text = trade_rows([(1, "1", "1", 0, True), (2, "1", "1", 0, True)])
    text += line.format(t=START) + "\n" + trade_rows([(10, "1", "1", 0, True)])
    if header:
        text = "id,price,qty,quote_qty,time,m,b\n" + text
        message = message.replace("line 3", "line 4")
    with pytest.raises(Mangled, match=r"BTCUSDT-trades-2026-03-01\.csv, " + message):
        read(tmp_path, text)


def test_the_line_counts_over_blocks_and_dropped_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugins.market_ops.backfill.rows.BLOCK_BYTES", 200)
    lines = [f"{n},1.0,1.0,{n},{n},{START},True,True" for n in range(1, 40)]
    lines[4] = f"5,0,0,-1,-1,{START},True,True"
    lines[30] = f"31,1.0,-1.0,31,31,{START},True,True"
    with pytest.raises(Mangled, match=r"line 31, quantity: .* was -1"):
        read(tmp_path, "\n".join(lines) + "\n", "aggTrades")
    lines[30] = f"30,1.0,1.0,31,31,{START},True,True"
    with pytest.raises(Mangled, match="line 31, agg_trade_id: expected more than before it"):
        read(tmp_path, "\n".join(lines) + "\n", "aggTrades")


def test_a_zip_with_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-trades-2026-03-01.zip"
    path.write_bytes(b"<html>")
    with pytest.raises(VisionError, match="not a zip"):
        list(Reader(path, "trades", DAY).batches())
    save(tmp_path, "OTHER", "").rename(path)
    with pytest.raises(VisionError, match=r"expected BTCUSDT-trades-2026-03-01\.csv in it"):
        list(Reader(path, "trades", DAY).batches())


decimals = st.decimals("0.00000001", "1e12", places=8)


@given(st.lists(st.tuples(decimals, decimals, st.integers(0, 86_399_999_999)), max_size=20))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Decimal, Decimal, int]]
) -> None:
    text = "".join(
        f"{number},{price:f},{quantity:f},0,{START + at},True,True\n"
        for number, (price, quantity, at) in enumerate(rows)
    )
    found = read(tmp_path_factory.mktemp("zip"), text)
    assert [(row["price"], row["quantity"]) for row in found] == [row[:2] for row in rows]


def test_klines_are_exact(tmp_path: Path) -> None:
    rows = read(tmp_path, kline_rows(GOOD), "klines")
    assert len(rows) == 1440
    assert rows[0]["quote_volume"] == Decimal("12000.02")
    assert (rows[1]["trades"], rows[1]["volume"]) == (0, 0)


@pytest.mark.parametrize("day", [date(2020, 1, 1), date(2020, 1, 3)])
def test_recorded_klines(recorded: Path, day: date) -> None:
    path = recorded / "archive" / f"BTCUSDT-1m-{day}.zip"
    table = pa.concat_tables(Reader(path, "klines", day).batches())
    assert table.num_rows == 1440
    assert table["opened_at"][0].as_py() == datetime(day.year, day.month, day.day, tzinfo=UTC)
