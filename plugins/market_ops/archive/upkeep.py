"""Upkeep of the archive: which hours need compaction, and which objects may go.

An hour of arrival is closed when it ended `GRACE` ago. An object that comes later still is found by
the next run, as no receipt names it: closing saves work, correctness does not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from . import compact
from .compact import (
    Hour,
    as_json,
    hours_received,
    manifest_of,
    read,
    receipt_of,
    removable,
    replaced,
)
from .raw import MANIFEST, OBJECT, finished_objects
from .storage import Store

# The job gathers frames for half a minute before it writes them; the rest is for its backlog.
GRACE: Final = timedelta(minutes=10)
# Behind the last change of an hour's manifest; longer than BigQuery lets a query run (6 hours).
REPLACED_AFTER: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Removed:
    """What a round of removal did.

    Attributes:
        raw: raw objects that were removed.
        replaced: Parquet objects that were removed because no manifest names them any more.
        unproven: raw objects that are old enough, and stay because a line of them is no trade or
            their trades are not those that the collector counted.
    """

    raw: int
    replaced: int
    unproven: list[str]


def parse_hour(text: str, name: str) -> datetime:
    """Return the hour of a parameter.

    Args:
        text: as 2026-03-01T17, UTC.
        name: the parameter's name, for the message.

    Raises:
        ValueError: `text` is something else.
    """
    try:
        return datetime.strptime(f"{text}+0000", "%Y-%m-%dT%H%z")
    except ValueError:
        message = f"{name}: expected an hour in UTC as 2026-03-01T17, was {text!r}"
        raise ValueError(message) from None


def hours_to_compact(
    store: Store,
    market: str,
    now: datetime,
    *,
    first: datetime | None = None,
    last: datetime | None = None,
) -> list[Hour]:
    """Return the closed hours of arrival with objects that no receipt names, oldest first.

    Args:
        store: the archive's bucket.
        market: market of the exchange, "spot".
        now: the time.
        first: no hour before this one.
        last: no hour behind this one.
    """
    return [
        hour
        for hour in hours_received(store, market)
        if hour.start + _HOUR + GRACE <= now
        and (first is None or first <= hour.start)
        and (last is None or hour.start <= last)
        and waiting(store, hour)
    ]


def waiting(store: Store, hour: Hour) -> list[str]:
    """Return the raw objects of an hour of arrival that no receipt names."""
    receipt = receipt_of(read(store, hour.receipt))
    return [n for n in finished_objects(store, hour.raw_folder) if n not in receipt["objects"]]


def in_turn(store: Store, hours: Sequence[Hour]) -> list[Hour]:
    """Return hours in the order to compact them in.

    Those that failed before come last, the one that was tried longest ago first: however many
    cannot be compacted, they keep no other hour waiting, and each has its turn again.
    """
    known = set(store.names("compact/failures/"))
    failed = {
        hour: failed_at
        for hour in hours
        if hour.failure in known and (failed_at := store.updated_at(hour.failure))
    }
    fresh = [hour for hour in hours if hour not in failed]
    return [*fresh, *sorted(failed, key=lambda hour: (failed[hour], hour.start))]


def note_failure(store: Store, hour: Hour, error: Exception) -> None:
    """Note that an hour could not be compacted."""
    store.write(hour.failure, as_json({"format": compact.FORMAT, "error": str(error)}))


def forget_failure(store: Store, hour: Hour) -> None:
    """Remove the note of a failure, where there is one."""
    if store.updated_at(hour.failure):
        store.delete(hour.failure)


def figures(store: Store, hour: Hour) -> dict[str, Any]:
    """Return what an hour of arrival became, for people and for the asset's event.

    `bytes_after` is the size of all Parquet of the hours of trading that it went into.
    """
    receipt = receipt_of(read(store, hour.receipt))
    entries = receipt["objects"].values()
    manifests = [manifest_of(store, at) for at in _hours_of_trading(hour, receipt)]
    return {
        "hour": f"{hour.start:%Y-%m-%dT%H}",
        "raw_objects": len(receipt["objects"]),
        "unproven": sum(not entry["is_proven"] for entry in entries),
        "lines": sum(entry["lines"] for entry in entries),
        "bytes_before": sum(entry["bytes"] for entry in entries),
        "trades": sum(manifest["trades"] for manifest in manifests),
        "bytes_after": sum(each["bytes"] for found in manifests for each in found["objects"]),
    }


def remove_old(store: Store, market: str, now: datetime, retention: timedelta) -> Removed:
    """Remove raw objects that are proven and old enough, and Parquet that was replaced.

    No compaction may be at work. It may be ended at any moment and repeated.

    Args:
        store: the archive's bucket.
        market: market of the exchange, "spot".
        now: the time.
        retention: how long raw objects are kept after the last compaction of their hour.
    """
    received = [
        (hour, receipt_of(read(store, hour.receipt)), written_at)
        for hour in hours_received(store, market)
        if (written_at := store.updated_at(hour.receipt))
    ]
    # Raw objects last: the hours that they went into are known by them.
    of_trading = {at for hour, receipt, _ in received for at in _hours_of_trading(hour, receipt)}
    no_more_read = [
        name
        for hour in of_trading
        if (replaced_at := store.updated_at(hour.folder + compact.MANIFEST))
        and replaced_at + REPLACED_AFTER <= now
        for name in replaced(store, hour)
    ]
    for name in no_more_read:
        store.delete(name)
    old = [(hour, receipt) for hour, receipt, at in received if at + retention <= now]
    raw = sum(len(_remove_raw(store, hour, receipt)) for hour, receipt in old)
    unproven = [name for hour, _ in old for name in finished_objects(store, hour.raw_folder)]
    return Removed(raw, len(no_more_read), unproven)


def _remove_raw(store: Store, hour: Hour, receipt: dict[str, Any]) -> list[str]:
    """Remove what is proven of an hour: an object first, so that one without manifest is new."""
    found = removable(store, hour)
    for name in found:
        store.delete(name)
    left = set(store.names(hour.raw_folder))
    for name in receipt["objects"]:
        manifest = name.removesuffix(OBJECT) + MANIFEST
        if name not in left and manifest in left:
            store.delete(manifest)
    return found


def _hours_of_trading(hour: Hour, receipt: dict[str, Any]) -> list[Hour]:
    numbers = {number for entry in receipt["objects"].values() for number in entry["hours"]}
    return [hour.at(number) for number in sorted(numbers)]
