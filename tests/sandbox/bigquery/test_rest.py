import json

import pytest

from sandbox.bigquery import rest
from sandbox.bigquery.rest import QueryError, query, rows_of

ANSWER = {
    "jobComplete": True,
    "schema": {"fields": [{"name": "symbol"}, {"name": "trades"}]},
    "rows": [{"f": [{"v": "BTCUSDT"}, {"v": "7"}]}, {"f": [{"v": "ETHUSDT"}, {"v": None}]}],
}


def answer(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> list[tuple[str, object]]:
    asked: list[tuple[str, object]] = []

    def post(url: str, document: object, *, timeout: float) -> tuple[int, bytes]:
        asked.append((url, document))
        return status, body

    monkeypatch.setattr(rest, "post_json", post)
    return asked


def test_rows_come_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, 200, json.dumps(ANSWER).encode())
    assert query("http://h:1", "p", "select 1", timeout=2) == [
        {"symbol": "BTCUSDT", "trades": "7"},
        {"symbol": "ETHUSDT", "trades": None},
    ]
    assert asked == [
        (
            "http://h:1/bigquery/v2/projects/p/queries",
            {"query": "select 1", "useLegacySql": False, "timeoutMs": 2000},
        )
    ]


def test_no_rows() -> None:
    assert rows_of({"schema": {"fields": [{"name": "a"}]}}) == []
    assert rows_of({}) == []


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, b'{"error": {"message": "no such column"}}', "HTTP 400: no such column"),
        (200, b'{"jobComplete": true, "errors": [{"message": "no such table"}]}', "no such table"),
        (200, b'{"jobComplete": false}', "no answer within 20 s"),
        (200, b"<html>", "Expecting value"),
    ],
)
def test_refusals(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, message: str) -> None:
    answer(monkeypatch, status, body)
    with pytest.raises(QueryError, match=message):
        query("http://h:1", "p", "select 1")


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(rest, "post_json", refuse)
    with pytest.raises(QueryError, match="refused"):
        query("http://h:1", "p", "select 1")
