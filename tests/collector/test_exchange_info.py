import base64
import json
import re
from pathlib import Path

import msgspec
import pytest

from collector.exchange_info import SymbolNews, split_entries
from market_data.batches import decode_batch
from market_data.decode import Origin, from_microseconds
from market_data.frames import join_lines
from market_data.rejections import Reason

TIME = 1_783_055_744_273_000
A, B = b'{"symbol":"AUSDT","status":"TRADING"}', b'{"symbol":"BUSDT","status":"BREAK"}'
NEW_A = A.replace(b"TRADING", b"HALT")


def line(entry: bytes, listed: int, time: int = TIME) -> bytes:
    return b'{"received_at":%d,"listed":%d,"data":%b}' % (time, listed, entry)


def test_entries_keep_their_bytes() -> None:
    odd = b'{ "symbol" : "\\u5e01USDT", "x":1.50,"x":[1e3]}'
    answer = b'{"serverTime":1, "symbols": [%b , %b], "sors":[]}' % (odd, A)
    assert split_entries(answer) == [odd, A]
    assert split_entries(b"{}") == []


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"symbols":7}', b'{"symbols":[{]}', b"\xff"])
def test_an_answer_without_entries_is_an_error(answer: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        split_entries(answer)


def test_all_at_first_then_what_changed() -> None:
    news = SymbolNews()
    assert news.lines([A, B], TIME) == [line(A, 2), line(B, 2)]
    assert news.lines([B, A], TIME + 1) == []
    assert news.lines([NEW_A, B], TIME + 2) == [line(NEW_A, 2, TIME + 2)]
    assert news.lines([A, B], TIME + 3) == [line(A, 2, TIME + 3)]


def test_a_new_symbol_is_news() -> None:
    news = SymbolNews()
    news.lines([A], TIME)
    assert news.lines([A, B], TIME) == [line(B, 2)]


def test_all_again_when_a_symbol_has_gone_and_once() -> None:
    news = SymbolNews()
    news.lines([A, B], TIME)
    assert news.lines([A], TIME + 1) == [line(A, 1, TIME + 1)]
    assert news.lines([A], TIME + 2) == []
    assert news.lines([A, B], TIME + 3) == [line(B, 2, TIME + 3)]


def test_an_entry_without_a_symbol_is_told_and_counted() -> None:
    news = SymbolNews()
    assert news.lines([b"7", A], TIME) == [
        b'{"received_at":%d,"listed":2,"base64":"%b"}' % (TIME, base64.b64encode(b"7")),
        line(A, 2),
    ]
    assert news.lines([b"7", A], TIME) == []


def test_an_entry_of_several_lines_is_wrapped() -> None:
    pretty = json.dumps(json.loads(A), indent=2).encode()
    (wrapped,) = SymbolNews().lines([pretty], TIME)
    match = re.fullmatch(rb'\{"received_at":\d+,"listed":1,"base64":"(.*)"\}', wrapped)
    assert match is not None
    assert base64.b64decode(match[1]) == pretty


@pytest.mark.parametrize(
    ("name", "count"), [("exchangeInfo-2021-10-12.txt", 1695), ("exchangeInfo-2026-07-03.json", 3)]
)
def test_recorded_answers_are_decoded_whole(recorded: Path, name: str, count: int) -> None:
    text = (recorded / "rest" / name).read_text("utf-8")
    answer = text[text.index("{") :]
    info, end = json.JSONDecoder().raw_decode(answer)
    lines = SymbolNews().lines(split_entries(answer[:end].encode()), TIME)
    origin = Origin("spot", "rest", "c1", "c1/1/1", from_microseconds(TIME))
    batch = decode_batch(join_lines(lines), "exchangeInfo", origin)
    assert (batch.rejected, sum(batch.ignored.values())) == ([], 0)
    assert batch.rows is not None
    rows = batch.rows.to_pylist()
    assert len(rows) == count
    assert {row["listed_symbols"] for row in rows} == {count}
    assert [(r["symbol"], r["status"], r["base_asset"], r["quote_asset"]) for r in rows] == [
        (e["symbol"], e["status"], e["baseAsset"], e["quoteAsset"]) for e in info["symbols"]
    ]
    assert all(row["tick_size"] > 0 and row["step_size"] > 0 for row in rows)


def test_a_nameless_entry_becomes_a_rejection_with_its_bytes() -> None:
    nameless = b'{"status":"TRADING","filters":[]}'
    body = join_lines(SymbolNews().lines([nameless], TIME))
    origin = Origin("spot", "rest", "c1", "c1/1/1", from_microseconds(TIME))
    (rejected,) = decode_batch(body, "exchangeInfo", origin).rejected
    assert rejected.cause.reason is Reason.UNKNOWN_MESSAGE
    assert nameless in rejected.line
