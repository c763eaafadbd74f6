import io
import zipfile
from datetime import date, timedelta

import pytest

from sandbox.exchange.clock import SimulatedClock, Timeline
from sandbox.exchange.feed import MarketFeed
from sandbox.exchange.history import MarketHistory
from sandbox.exchange.hub import Hub
from sandbox.exchange.payloads import MICROSECOND, MILLISECOND
from sandbox.exchange.tape import Tape
from sandbox.exchange.vision_files import DailyFile, parse_path, slices, write_zip

from .conftest import small_market

DAY = date(2026, 9, 21)
TRADES = DailyFile("trades", "BTCUSDT", "", DAY)
AGG_TRADES = DailyFile("aggTrades", "BTCUSDT", "", DAY)
KLINES = DailyFile("klines", "BTCUSDT", "1m", DAY)
SECONDS = 130
SPAN = (TRADES.start_us, TRADES.start_us + SECONDS * 1_000_000)


def rows(file: DailyFile, timeline: Timeline | None = None) -> list[list[str]]:
    market = small_market(rate=5).symbols[0]
    text = "".join(slices(file, market, timeline or Timeline(), SPAN))
    return [line.split(",") for line in text.splitlines()]


def history(start_us: int = TRADES.start_us) -> MarketHistory:
    """Return what REST says of a market that begins with the day."""
    clock = SimulatedClock(SPAN[1], 1.0, lambda: 0.0)
    tape = Tape(small_market(rate=5), Timeline(), start_us)
    feed = MarketFeed(tape, start_us, 7, Hub(None), clock)
    feed.catch_up(start_us + SECONDS * 1_000_000)
    return MarketHistory(feed)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("trades/BTCUSDT/BTCUSDT-trades-2026-09-21.zip", TRADES),
        ("aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-09-21.zip", AGG_TRADES),
        ("klines/BTCUSDT/1m/BTCUSDT-1m-2026-09-21.zip", KLINES),
        ("trades/币安人生USDT/币安人生USDT-trades-2026-09-21.zip",
         DailyFile("trades", "币安人生USDT", "", DAY)),
    ],
)  # fmt: skip
def test_paths(path: str, file: DailyFile) -> None:
    assert parse_path(path) == file
    assert file.path == path


@pytest.mark.parametrize(
    "path",
    [
        "trades/BTCUSDT/ETHUSDT-trades-2026-09-21.zip",
        "trades/BTCUSDT/1m/BTCUSDT-1m-2026-09-21.zip",
        "klines/BTCUSDT/BTCUSDT-klines-2026-09-21.zip",
        "klines/BTCUSDT/1s/BTCUSDT-1s-2026-09-21.zip",
        "trades/BTCUSDT/BTCUSDT-trades-2026-02-30.zip",
        "trades/BTCUSDT/BTCUSDT-trades-2026-09.zip",
        "bookTicker/BTCUSDT/BTCUSDT-bookTicker-2026-09-21.zip",
        "trades",
    ],
)
def test_what_is_no_file(path: str) -> None:
    assert parse_path(path) is None


def test_trades_are_those_of_rest() -> None:
    past = history()
    (oldest,) = past.agg_trades("BTCUSDT", None, SPAN[0], None, 1, MICROSECOND)
    told = past.trades("BTCUSDT", oldest["f"], 100_000, MICROSECOND)
    keys = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")
    assert len(told) > 100
    assert rows(TRADES) == [[str(row[key]) for key in keys] for row in told]


def test_aggregate_trades_are_those_of_rest() -> None:
    told = history().agg_trades("BTCUSDT", None, SPAN[0], None, 100_000, MICROSECOND)
    assert len(told) > 40
    assert rows(AGG_TRADES) == [[str(row[key]) for key in "apqflTmM"] for row in told]


def test_klines_are_those_of_rest_and_fill_the_day() -> None:
    told = history().klines("BTCUSDT", "1m", None, None, 1000, MICROSECOND)
    found = rows(KLINES)
    assert found[:2] == [[str(value) for value in row] for row in told[:2]]
    assert len(found) == 1440
    assert int(found[-1][6]) == KLINES.end_us - 1
    assert found[-1][4:6] == [found[2][4], "0.00000000"]  # no trade: the previous close
    (day,) = rows(DailyFile("klines", "BTCUSDT", "1d", DAY))
    assert int(day[8]) == sum(int(row[8]) for row in found)


def test_a_day_begins_with_its_first_microsecond_and_ends_before_the_next() -> None:
    market = small_market(rate=5).symbols[0]

    def times(start_us: int, end_us: int) -> list[int]:
        return [each.time_us for second in market.span(start_us, end_us) for each in second]

    all_of_them = times(*SPAN)
    first, last = all_of_them[0], all_of_them[-1]
    assert times(first, last) == [each for each in all_of_them if each < last]


def test_the_first_kline_knows_the_close_before() -> None:
    quiet = small_market(rate=5).symbols[7]  # an aggregate every two minutes
    span = (KLINES.start_us, KLINES.start_us + 1)
    text = "".join(slices(KLINES, quiet, Timeline(), span))
    close = f"{quiet.price_before(span[0]) / 1e8:.8f}"
    assert text.split(",", 6)[1:6] == [close] * 4 + ["0.00000000"]


def test_times_are_in_milliseconds_before_2025() -> None:
    assert DailyFile("trades", "BTCUSDT", "", date(2024, 12, 31)).unit == MILLISECOND
    assert DailyFile("trades", "BTCUSDT", "", date(2025, 1, 1)).unit == MICROSECOND


def test_a_pause_moves_what_follows() -> None:
    timeline, middle = Timeline(), TRADES.start_us + 60_000_000
    timeline.pause(middle)
    timeline.resume(middle + 3_000_000)
    moved = rows(TRADES, timeline)
    for row, now in zip(rows(TRADES), moved, strict=True):
        shift = 3_000_000 if int(row[4]) >= middle else 0
        assert now == [*row[:4], str(int(row[4]) + shift), *row[5:]]


def test_the_zip_has_one_csv_and_is_the_same_each_time() -> None:
    def made() -> bytes:
        target = io.BytesIO()
        market = small_market(rate=5).symbols[0]
        written = list(write_zip(target, TRADES, market, Timeline(), SPAN))
        assert len(written) == SECONDS  # slices, between which others may work
        return target.getvalue()

    assert made() == made()
    with zipfile.ZipFile(io.BytesIO(made())) as archive:
        (entry,) = archive.infolist()
        assert entry.filename == "BTCUSDT-trades-2026-09-21.csv"
        assert date(*entry.date_time[:3]) == DAY + timedelta(days=1)
        lines = archive.read(entry).decode().splitlines()
    assert lines == [",".join(row) for row in rows(TRADES)]
