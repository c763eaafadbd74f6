"""What a seed has to prove, beside the certificate: every hole recorded and closed, memory bounded.

`problems_of` is asked after the marts are built; an empty list is the proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sandbox.bigquery.rest import query
from sandbox.faults.report import Hole, open_holes
from sandbox.faults.run import Injected
from sandbox.settings import Platform

_MEBIBYTE: Final = 2**20
# Peak resident memory of each process in a campaign: some minutes at a few hundred trades a second
# take half of it. Growth without an end passes it.
MEMORY_MIB: Final[Mapping[str, int]] = {
    "collector": 400,
    "job": 900,
    "pubsub": 500,
    "gcs": 300,
    "bigquery": 1200,
    "exchange": 400,
}
# Ids of which no row came from the stream: they were missing, and REST had them.
_FETCHED: Final = """
select channel, symbol, id
from (
  select 'trade' as channel, symbol, trade_id as id, source from `{project}.raw.trades`
  union all
  select 'aggTrade' as channel, symbol, agg_trade_id as id, source from `{project}.raw.agg_trades`
)
group by channel, symbol, id having logical_and(source = 'rest')
order by channel, symbol, id
"""
_REPEATED: Final = """
select count(*) - count(distinct concat(symbol, ' ', cast(trade_id as string))) as repeated
from `{project}.raw.trades`
"""

Id = tuple[str, str, int]


def fetched_ids(platform: Platform) -> list[Id]:
    """Return the ids that only REST delivered, as channel, symbol and id.

    Raises:
        QueryError: BigQuery refuses or does not answer.
    """
    rows = query(
        platform.bigquery_url, platform.project, _FETCHED.replace("{project}", platform.project)
    )
    return [(str(row["channel"]), str(row["symbol"]), int(row["id"] or 0)) for row in rows]


def repeated_trades(platform: Platform) -> int:
    """Return how many rows of raw.trades repeat one that is there.

    Raises:
        QueryError: BigQuery refuses or does not answer.
    """
    sql = _REPEATED.replace("{project}", platform.project)
    return int(query(platform.bigquery_url, platform.project, sql)[0]["repeated"] or 0)


def problems_of(
    certificate: Mapping[str, Any],
    holes: list[Hole],
    fetched: Iterable[Id],
    injections: Iterable[Injected],
    memory: Mapping[str, int],
) -> list[str]:
    """Return what keeps a seed from having proven that nothing was lost.

    Args:
        certificate: of the run.
        holes: of `ops.holes`, the newest word on each.
        fetched: ids that only REST delivered.
        injections: what was done to the sandbox.
        memory: peak resident bytes by process.
    """
    return [
        *certificate["problems"],
        *_open(holes),
        *_unrecorded(holes, fetched),
        *(f"{each.what}: {each.error}" for each in injections if each.error),
        *_memory(memory),
    ]


def _open(holes: list[Hole]) -> list[str]:
    return [
        f"{hole['symbol']}: the hole {hole['first_missing_id']} to {hole['last_missing_id']} of"
        f" {hole['channel']} is {hole['outcome']}"
        for hole in open_holes(holes)
    ]


def _unrecorded(holes: list[Hole], fetched: Iterable[Id]) -> list[str]:
    ranges: dict[tuple[str, str], list[range]] = {}
    for hole in holes:
        first, last = int(hole["first_missing_id"]), int(hole["last_missing_id"])
        ranges.setdefault((hole["channel"], hole["symbol"]), []).append(range(first, last + 1))
    lost: dict[tuple[str, str], list[int]] = {}
    for channel, symbol, item_id in fetched:
        if not any(item_id in each for each in ranges.get((channel, symbol), ())):
            lost.setdefault((channel, symbol), []).append(item_id)
    return [
        f"{symbol}: {len(ids)} ids of {channel} came from REST alone and are in no recorded hole,"
        f" first {ids[0]}, last {ids[-1]}"
        for (channel, symbol), ids in lost.items()
    ]


def _memory(peaks: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: {peaks[name] // _MEBIBYTE} MiB at its peak, {limit} are allowed"
        for name, limit in MEMORY_MIB.items()
        if peaks.get(name, 0) > limit * _MEBIBYTE
    ]
