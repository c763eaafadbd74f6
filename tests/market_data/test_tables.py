import dataclasses
import json
import typing

import pytest

from market_data.tables import TABLES, Table, columns_of, main, schema_document, schema_path


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.full_name)
def test_checked_in_schema_is_the_records(table: Table) -> None:
    assert schema_path(table).read_text("utf-8") == schema_document(table)


def test_a_changed_record_is_noticed(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr("market_data.tables.documents", lambda: {tmp_path / "x.json": "new"})
    (tmp_path / "x.json").write_text("old")
    assert main([]) == 1
    assert "x.json" in capsys.readouterr().out
    assert main(["--write"]) == 0
    assert main([]) == 0


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.full_name)
def test_every_field_of_the_record_is_a_column(table: Table) -> None:
    names = {field.name for field in dataclasses.fields(table.record)}
    assert {column.name for column in columns_of(table.record)} == names
    assert table.arrow_schema.names == [column["name"] for column in table.bigquery_schema]
    assert table.partition_column in names
    assert set(table.cluster_columns) <= names


def test_optional_fields_are_nullable() -> None:
    for table in TABLES:
        hints = typing.get_type_hints(table.record)
        for column in table.columns:
            is_optional = type(None) in typing.get_args(hints[column.name])
            assert column.mode == ("NULLABLE" if is_optional else "REQUIRED"), column


def test_no_floating_point_reaches_a_table() -> None:
    for table in TABLES:
        document = json.loads(schema_document(table))
        assert not [c for c in document["schema"] if c["type"] in ("FLOAT", "FLOAT64")]


def test_the_names_that_others_rely_on() -> None:
    trades = {column.name for column in TABLES[0].columns}
    assert trades >= {
        "market", "symbol", "trade_id", "price", "quantity", "quote_quantity", "is_buyer_maker",
        "traded_at", "event_at", "received_at", "source", "collector", "frame_id",
    }  # fmt: skip
