"""Verification: every stage holds the same trades, and the marts' candles are those of the archive.

First control totals by symbol and minute (`sandbox.equality`), then candles, computed outside
BigQuery: the archive is compacted to Parquet, whose trades `plugins.market_ops.candles` reduces in
integers: neither SQL nor the warehouse's engine has a part in it.
"""

from __future__ import annotations

import json
import os
import warnings
from datetime import date, datetime
from typing import Any, Final

from plugins.market_ops.archive.compact import compact_hour, hours_received, removable
from plugins.market_ops.archive.storage import BucketStore
from plugins.market_ops.candles import INTERVALS, candles_of_day, coarser
from sandbox.certificate.candles import FIELDS
from sandbox.probes import get
from sandbox.progress import Reader
from sandbox.settings import BUCKET, PROJECT, Platform, Settings, platform_of
from sandbox.state import State
from sandbox.warehouse import Warehouse

MARKET: Final = "spot"
_MARTS: Final = """
select table_name from `{project}.marts.INFORMATION_SCHEMA.TABLES`
"""
_CANDLES: Final = """
select * from `{project}.marts.ohlcv_{interval}`
where market = 'spot' and trades > 0 and date(opened_at) in ({days})
"""
_MAX_SHOWN: Final = 20

Key = tuple[str, Any]
Candles = dict[Key, dict[str, Any]]


def verify_stages(settings: Settings, state: State, since: datetime | None) -> int:
    """Compare what a running sandbox received with archive, tables, marts and candles.

    Args:
        settings: of the running sandbox.
        state: of the same.
        since: the first minute of the control totals; None for all.

    Returns:
        0 when nothing is different.
    """
    os.environ.update(settings.client_environment)
    warnings.simplefilter("ignore", FutureWarning)  # Google's on our Python, once per library
    from sandbox.equality import compare_stages

    platform = platform_of(
        settings,
        started_at=datetime.fromisoformat(state.started_at),
        ready_seconds=state.ready_seconds or 0.0,
        peak_memory=dict,
    )
    lines, problems = compare_stages(platform, since, is_open=_is_open(platform))
    print("\n".join([*lines, *(f"    {problem}" for problem in problems)]))
    return max(int(bool(problems)), verify_marts(settings))


def _is_open(platform: Platform) -> bool:
    """Tell whether more is on its way: the market trades, or a stage waits for the one before."""
    if platform.exchange_url is None:
        return True
    status = json.loads(get(f"{platform.exchange_url}/sim/status")[1])
    progress = Reader(platform).read(exactly=True)
    is_closed = status.get("paused") or status["done"]
    return not is_closed or bool(progress.missing(progress.sealed))


def verify_marts(settings: Settings) -> int:
    """Compare all candles of a running sandbox; return 0 when none is different.

    Prints one line an interval, and each difference with both values.
    """
    os.environ.update(settings.client_environment)
    warnings.simplefilter("ignore", FutureWarning)  # Google's on our Python, once per library
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(project=PROJECT, credentials=AnonymousCredentials())
    store = BucketStore(client.bucket(BUCKET))
    days = compact_all(store)
    with Warehouse(PROJECT, settings.client_environment["BIGQUERY_EMULATOR_HOST"]) as warehouse:
        found = {row["table_name"] for row in warehouse.rows(_MARTS)}
        intervals = [interval for interval in INTERVALS if f"ohlcv_{interval}" in found]
        good = [_verify(store, warehouse, interval, days) for interval in intervals]
    return 0 if good and all(good) else 1


def compact_all(store: BucketStore) -> set[date]:
    """Compact every hour of arrival and return the days of trading."""
    days, objects, proven = set(), 0, 0
    for hour in hours_received(store, MARKET):
        receipt = compact_hour(store, hour)
        for entry in receipt["objects"].values():
            days |= {hour.at(number).start.date() for number in entry["hours"]}
        objects += len(receipt["objects"])
        proven += len(removable(store, hour))
    print(f"compacted {objects} objects, {proven} of them proven equal by control totals")
    return days


def differences(ours: Candles, theirs: Candles) -> list[str]:
    """Return a sentence a field that differs in candles that both have, ordered by candle."""
    return [
        f"{key[0]} {key[1]:%Y-%m-%d %H:%M} {field}: archive {ours[key][field]}, "
        f"mart {theirs[key][field]}"
        for key in sorted(ours.keys() & theirs.keys())
        for field in FIELDS
        if ours[key][field] != theirs[key][field]
    ]


def _verify(store: BucketStore, warehouse: Warehouse, interval: str, days: set[date]) -> bool:
    minutes = [candles_of_day(store, MARKET, day) for day in sorted(days)]
    ours = by_key([row for day in minutes for row in coarser(day, interval).to_pylist()])
    shown = ", ".join(f"date '{day}'" for day in sorted(days)) or "null"
    sql = _CANDLES.replace("{interval}", interval).replace("{days}", shown)
    theirs = by_key(warehouse.rows(sql))
    found = differences(ours, theirs)
    both = ours.keys() & theirs.keys()
    different = len({tuple(text.split(" ")[:3]) for text in found})
    print(
        f"{interval:<4}{len(both) - different:>8} equal{different:>6} different"
        f"{len(ours.keys() - both):>6} only in the archive{len(theirs.keys() - both):>6} only in "
        "the mart"
    )
    for text in found[:_MAX_SHOWN]:
        print(f"    {text}")
    return bool(both) and ours.keys() == theirs.keys() and not found


def by_key(rows: list[dict[str, Any]]) -> Candles:
    """Return candles by symbol and opening time."""
    return {(row["symbol"], row["opened_at"]): row for row in rows}
