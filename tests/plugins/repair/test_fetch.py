"""A hole from REST or the archive: trades, proofs, and what stays open."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from plugins.market_ops.backfill.vision import NotPublished, Vision
from plugins.market_ops.repair.fetch import days_of, from_archive, from_rest
from plugins.market_ops.repair.holes import ABSENT, Aggregate, Hole, SourceTrade
from plugins.market_ops.repair.rest import SourceError

AT = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
TODAY = AT.date()
HOLE = Hole(symbol="BTCUSDT", first_id=10, last_id=19, before=AT, after=AT)


class Exchange:
    """An exchange with these trades; pages of three."""

    def __init__(self, ids: Iterable[int], aggregates: Iterable[Aggregate] = ()) -> None:
        self._ids = sorted(ids)
        self._aggregates = list(aggregates)
        self.pages = 0

    def trades(self, symbol: str, from_id: int) -> list[SourceTrade]:
        self.pages += 1
        found = [each for each in self._ids if each >= from_id][:3]
        return [SourceTrade(each, "1", "1", 1000 + each, True, True) for each in found]

    def aggregates(self, symbol: str, start: int, end: int) -> list[Aggregate]:
        return [
            each
            for each in self._aggregates
            if start <= 1000 + each.last_id and 1000 + each.first_id <= end
        ]


def ids(trades: Iterable[SourceTrade]) -> list[int]:
    return [trade.id for trade in trades]


def test_rest_has_all() -> None:
    exchange = Exchange(range(100))
    found = from_rest(exchange, HOLE)
    assert (ids(found.trades), found.absent, found.why) == (list(range(10, 20)), [], "")
    assert exchange.pages == 4


def test_two_witnesses_prove_absence() -> None:
    aggregates = [Aggregate(1, 8, 12), Aggregate(2, 16, 20)]
    found = from_rest(Exchange({*range(13), *range(16, 30)}, aggregates), HOLE)
    assert ids(found.trades) == [10, 11, 12, 16, 17, 18, 19]
    (part,) = found.absent
    assert (part.first_id, part.last_id, part.outcome) == (13, 15, ABSENT)
    assert part.witnesses == (
        "rest: historicalTrades has 12 and 16 and nothing in between;"
        " aggregate 1 ends with trade 12, 2 begins with 16"
    )
    assert found.why == ""


def test_one_witness_is_not_enough() -> None:
    aggregates = [Aggregate(1, 8, 12), Aggregate(3, 16, 20)]
    found = from_rest(Exchange({*range(13), *range(16, 30)}, aggregates), HOLE)
    assert found.absent == []
    assert "do not confirm" in found.why


def test_what_the_source_does_not_reach_stays_open() -> None:
    assert from_rest(Exchange(range(15)), HOLE).why == "rest has no trade behind 15 to 19"
    assert from_rest(Exchange(range(12, 30)), HOLE).why == "rest has no trade before 10 to 11"
    assert from_rest(Exchange([]), HOLE).why == "rest has no trade before 10 to 19"


def test_the_first_id_of_all_has_nothing_before_it() -> None:
    hole = Hole(symbol="BTCUSDT", first_id=0, last_id=1)
    assert ids(from_rest(Exchange(range(9)), hole).trades) == [0, 1]


def vision(files: dict[str, str]) -> Vision:
    """Return an archive with these CSVs by name."""
    bodies: dict[str, bytes] = {}
    for name, text in files.items():
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{name}.csv", text)
        bodies[f"{name}.zip"] = packed.getvalue()
        digest = hashlib.sha256(packed.getvalue()).hexdigest()
        bodies[f"{name}.zip.CHECKSUM"] = f"{digest}  {name}.zip".encode()

    def answer(request: httpx.Request) -> httpx.Response:
        body = bodies.get(request.url.path.rsplit("/", 1)[1])
        return httpx.Response(404) if body is None else httpx.Response(200, content=body)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    return Vision("http://x", client, lambda _: None)


def row(number: int, day: date = TODAY) -> str:
    at = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000 + number
    return f"{number},60000.10000000,0.20000000,12000.02000000,{at},True,True\n"


def aggregate_row(number: int, first: int, last: int) -> str:
    at = int(AT.timestamp()) * 1_000_000
    return f"{number},1.0,1.0,{first},{last},{at},True,True\n"


DAYS = ("2026-03-01", "2026-03-02")
NEXT = AT + timedelta(minutes=2)


def test_the_archive_has_all_over_midnight(tmp_path: Path) -> None:
    archive = vision(
        {
            f"BTCUSDT-trades-{DAYS[0]}": "".join(map(row, range(5, 15))),
            f"BTCUSDT-trades-{DAYS[1]}": "".join(row(n, NEXT.date()) for n in range(15, 25)),
        }
    )
    hole = Hole(symbol="BTCUSDT", first_id=10, last_id=19, before=AT, after=NEXT)
    found = from_archive(archive, tmp_path, hole)
    assert ids(found.trades) == list(range(10, 20))
    assert (found.trades[0].price, found.trades[0].quantity) == ("60000.10000000", "0.20000000")
    assert (found.source, found.absent, found.why) == ("archive", [], "")
    # Another hole of these days needs no further request.
    archive.client.close()
    second = Hole(symbol="BTCUSDT", first_id=21, last_id=22, before=AT, after=NEXT)
    assert ids(from_archive(archive, tmp_path, second).trades) == [21, 22]


def test_the_archive_proves_absence_with_its_aggregates(tmp_path: Path) -> None:
    trades = "".join(row(n) for n in range(5, 25) if n not in (13, 14))
    aggregates = aggregate_row(1, 5, 12) + aggregate_row(2, 15, 24)
    names = [f"BTCUSDT-{kind}-{DAYS[0]}" for kind in ("trades", "aggTrades")]
    found = from_archive(
        vision(dict(zip(names, (trades, aggregates), strict=True))), tmp_path, HOLE
    )
    (part,) = found.absent
    assert (part.first_id, part.last_id) == (13, 14)
    assert "aggregate 1 ends with trade 12" in part.witnesses
    aggregates = aggregate_row(1, 5, 14) + aggregate_row(2, 15, 24)
    found = from_archive(
        vision(dict(zip(names, (trades, aggregates), strict=True))), tmp_path, HOLE
    )
    assert (found.absent, "do not confirm" in found.why) == ([], True)


def test_a_day_that_is_not_published_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match=r"BTCUSDT-trades-2026-03-01\.zip.*next day"):
        from_archive(vision({}), tmp_path, HOLE)


def test_the_archive_needs_the_day_and_not_too_many() -> None:
    with pytest.raises(SourceError, match="give the day"):
        days_of(Hole(symbol="BTCUSDT", first_id=1, last_id=2))
    with pytest.raises(SourceError, match="backfill_history"):
        days_of(Hole(symbol="A", first_id=1, last_id=2, before=AT - timedelta(days=9), after=AT))


def test_ids_at_the_edges_of_a_hole_have_neighbours_too() -> None:
    aggregates = [Aggregate(1, 1, 9), Aggregate(2, 12, 17), Aggregate(3, 20, 30)]
    found = from_rest(Exchange({*range(10), *range(12, 18), *range(20, 30)}, aggregates), HOLE)
    assert [(part.first_id, part.last_id) for part in found.absent] == [(10, 11), (18, 19)]
    assert found.why == ""
