from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from beam_jobs.archive import ArchiveKey
from beam_jobs.compare import KEYS, FrameCount, Span
from beam_jobs.table_totals import Entered, TableTotals
from market_data.layouts import LAYOUTS
from market_data.totals import SymbolTotals

SPAN = Span(10, 20, 30, 40)


class Client:
    """Answers every query with the same rows, and keeps what was asked."""

    project = "my-project"

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = rows
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def query_and_wait(self, sql: str, **options: Any) -> Iterable[dict[str, Any]]:
        assert options["retry"] is options["job_retry"] is None
        assert options["wait_timeout"] > 0
        parameters = options["job_config"].query_parameters
        values = {each.name: getattr(each, "value", None) or each.values for each in parameters}
        self.asked.append((" ".join(sql.split()), values))
        return self.rows


def tables(client: Client, dataset: str | None = None) -> TableTotals:
    return TableTotals(client, dataset)  # type: ignore[arg-type]


def frame(number: int, span: Span | None = SPAN) -> FrameCount:
    return FrameCount(f"c1/7/{number}", (), span)


class TestTotals:
    def test_of_trades(self) -> None:
        client = Client(
            {
                "frame_id": "c1/7/1", "symbol": "BTCUSDT", "row_count": 2, "first_id": 1,
                "last_id": 2, "sum_high": 1, "sum_low": 3, "quantity": Decimal("0.4"),
                "quote_quantity": Decimal(1),
            }
        )  # fmt: skip
        found = tables(client).totals("trade", [frame(1), frame(2, Span(1, 15, 35, 99)), frame(3)])
        assert found == {
            ("c1/7/1", "BTCUSDT"): SymbolTotals(
                symbol="BTCUSDT", first_id=1, last_id=2, count=2, sum_ids=Decimal(1_000_003),
                sum_quantity=Decimal("0.4"), sum_quote_quantity=Decimal(1),
            )
        }  # fmt: skip
        ((sql, parameters),) = client.asked
        assert "from `my-project.raw.trades`" in sql
        assert "distinct frame_id, symbol, trade_id, quantity, quote_quantity" in sql
        assert parameters == {
            "first_at": 1, "last_at": 20, "first_received_at": 30, "last_received_at": 99,
        }  # fmt: skip

    @pytest.mark.parametrize("channel", KEYS)
    def test_every_query_names_its_partitions(self, channel: str) -> None:
        client = Client()
        assert tables(client, "again").totals(channel, [frame(1)]) == {}
        tables(client, "again").ids(channel, [frame(1)])
        table = LAYOUTS[channel].table
        assert len(client.asked) == (1 if channel in ("kline", "hole") else 2)  # these have no ids
        for sql, _ in client.asked:
            assert f"from `my-project.again.{table.name}`" in sql
            assert f"{table.partition_column} between timestamp_micros(@first_at)" in sql

    def test_times_are_whole_numbers(self) -> None:
        client = Client()
        tables(client).totals("kline", [frame(1)])
        ((sql, _),) = client.asked
        assert "sum(div(unix_micros(event_at), 1000000)) as sum_high" in sql
        assert "distinct frame_id, symbol, kline_interval, opened_at, event_at" in sql

    def test_frames_without_rows_ask_nothing(self) -> None:
        client = Client()
        assert tables(client).totals("trade", [frame(1, None)]) == {}
        assert tables(client).ids("trade", [frame(1, None)]) == {}
        assert client.asked == []


def test_ids_by_frame_and_symbol() -> None:
    rows = [
        {"frame_id": "c1/7/1", "symbol": symbol, "row_id": number}
        for symbol, number in (("BTCUSDT", 5), ("BTCUSDT", 6), ("ETHUSDT", 1))
    ]
    client = Client(*rows)
    found = tables(client).ids("trade", [frame(1), frame(2)])
    assert {name: ids.tolist() for name, ids in found.items()} == {
        ("c1/7/1", "BTCUSDT"): [5, 6],
        ("c1/7/1", "ETHUSDT"): [1],
    }
    assert client.asked[0][1]["frames"] == ["c1/7/1", "c1/7/2"]


def test_entered_frames_of_an_hour() -> None:
    at = datetime(2026, 2, 2, 4, tzinfo=timezone(timedelta(hours=1)))
    client = Client({"frame_id": "c1/7/1", "first_loaded_at": at, "first_source": "stream"})
    found = tables(client).entered(ArchiveKey("spot", "trade", "2026-02-02T02", 0))
    assert found == {"c1/7/1": Entered(datetime(2026, 2, 2, 3, tzinfo=UTC), "stream")}
    ((sql, parameters),) = client.asked
    assert "from `my-project.ops.frames`" in sql
    start = 1_769_997_600_000_000
    assert parameters == {
        "market": "spot", "channel": "trade", "since": start - 3_600_000_000, "first_at": start,
        "end_at": start + 3_600_000_000,
    }  # fmt: skip
