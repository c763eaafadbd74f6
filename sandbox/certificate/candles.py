"""Candles: ours against the exchange's, field by field."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from sandbox.warehouse import Warehouse

FIELDS: Final = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trades",
    "taker_buy_volume",
    "taker_buy_quote_volume",
)
# Order of the columns in data.binance.vision's kline files; 0 is the open time, 6 the close time.
_COLUMNS: Final = (1, 2, 3, 4, 5, 7, 8, 9, 10)
_FILE_NAME: Final = re.compile(r"(?P<symbol>[^-]+)-(?P<interval>1m|5m|15m|1h|4h|1d)-.*\.csv")
_MAX_SHOWN: Final = 50
# Times of the archive in µs have 16 digits, in ms 13.
_MICROSECONDS_FROM: Final = 10**14

_STREAMED: Final = """
select kline_interval, count(*) as known, countif(is_covered) as compared,
  countif(is_covered and is_equal) as equal
from `{project}.marts.kline_reconciliation` group by kline_interval
order by strpos('1m 5m 15m 1h 4h 1d', kline_interval)
"""
_DIFFERENT: Final = """
select *
from `{project}.marts.kline_reconciliation` where is_covered and not is_equal
order by market, symbol, kline_interval, opened_at limit 50
"""
_OURS: Final = """
select *
from `{project}.marts.ohlcv_{interval}`
where symbol = '{symbol}' and is_final and trades > 0
and opened_at >= timestamp '2017-07-01' -- a condition on the partitions; Binance opened then
order by opened_at
"""


class KlineFileError(ValueError):
    """A reference file is no kline file."""


def compare(warehouse: Warehouse, references: Sequence[Path]) -> dict[str, Any]:
    """Return how our candles compare with the exchange's.

    A candle is compared when our trades provably cover it: `is_covered` and `is_final` of the
    marts. Differences come with their class.

    Args:
        warehouse: where the marts are.
        references: official kline files, compared as well; named SYMBOL-INTERVAL-….csv.

    Raises:
        KlineFileError: a file is not named or made like a kline file.
    """
    return {
        "intervals": warehouse.rows(_STREAMED),
        "differences": [_plain(row) for row in warehouse.rows(_DIFFERENT)],
        "references": [_compare_file(warehouse, path) for path in references],
    }


def read_klines(path: Path) -> dict[datetime, dict[str, Decimal]]:
    """Return the candles of an official kline file by open time.

    Raises:
        KlineFileError: a row has another form.
    """
    candles: dict[datetime, dict[str, Decimal]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if number == 1 and row and not row[0].isdigit():
                continue  # newer files have a header
            try:
                opened_at = int(row[0])
                values = {name: Decimal(row[i]) for name, i in zip(FIELDS, _COLUMNS, strict=True)}
            except (ArithmeticError, ValueError, IndexError) as error:
                raise KlineFileError(f"{path}, line {number}: no kline row: {error}") from None
            scale = 1 if opened_at >= _MICROSECONDS_FROM else 1000
            start = datetime(1970, 1, 1, tzinfo=UTC)
            candles[start + timedelta(microseconds=opened_at * scale)] = values
    return candles


def _compare_file(warehouse: Warehouse, path: Path) -> dict[str, Any]:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise KlineFileError(f"{path}: expected a name such as BTCUSDT-5m-2024-08-08.csv")
    symbol, interval = match["symbol"], match["interval"]
    if not symbol.isalnum():
        raise KlineFileError(f"{path}: {symbol!r} is no symbol")
    sql = _OURS.replace("{interval}", interval).replace("{symbol}", symbol)
    ours = {row["opened_at"]: row for row in warehouse.rows(sql)}
    official = read_klines(path)
    compared = sorted(ours.keys() & official.keys())
    differences = [
        {
            "symbol": symbol,
            "opened_at": opened_at.isoformat(),
            "field": field,
            "ours": str(ours[opened_at][field]),
            "official": str(official[opened_at][field]),
        }
        for opened_at in compared
        for field in FIELDS
        if ours[opened_at][field] != official[opened_at][field]
    ]
    return {
        "file": path.name,
        "compared": len(compared),
        "equal": len(compared) - len({row["opened_at"] for row in differences}),
        "differences": differences[:_MAX_SHOWN],
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, bool | int) else str(value) for name, value in row.items()
    }
