"""Control totals of trades at every stage, each asked or counted on its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import grpc
import pyarrow as pa
from google.api_core.exceptions import DeadlineExceeded
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from market_data.batches import decode_batch
from market_data.decode import Origin
from market_data.frames import Frame, decode_frame, split_frames
from market_data.layouts import AGG_TRADE, TRADE
from market_data.rejections import Rejected
from market_data.totals import totals_by_symbol
from sandbox.probes import get
from sandbox.settings import Platform
from sandbox.warehouse import Warehouse

STAGES: Final = ("exchange", "received", "published", "archived", "loaded", "deduplicated")

_LOADED: Final = """
select 'trade' as channel, market, symbol, count(*) as count,
  sum(cast(trade_id as numeric)) as sum_ids,
  sum(quantity) as sum_quantity, sum(quote_quantity) as sum_quote_quantity
from `{project}.raw.trades` group by market, symbol
"""
_LOADED_AGGREGATES: Final = """
select 'aggTrade' as channel, market, symbol, count(*) as count,
  sum(cast(agg_trade_id as numeric)) as sum_ids
from `{project}.raw.agg_trades` group by market, symbol
"""
_DEDUPLICATED: Final = _LOADED.replace("raw.trades", "intermediate.int_trades_deduplicated")
_DEDUPLICATED_AGGREGATES: Final = """
select 'aggTrade' as channel, market, symbol, count(*) as count,
  sum(cast(agg_trade_id as numeric)) as sum_ids
from (select distinct market, symbol, agg_trade_id from `{project}.raw.agg_trades`)
group by market, symbol
"""
_HOLES: Final = """
select market, symbol, first_missing_id, last_missing_id
from `{project}.intermediate.int_id_holes` where not is_unpublished
order by market, symbol, first_missing_id
"""
_DAYS: Final = """
select cast(traded_on as string) as traded_on, verdict, count(*) as symbols
from `{project}.marts.market_completeness` group by 1, 2 order by 1, 2
"""
_FRAMES: Final = """
select collector, epoch, count(*) as loads, count(distinct frame_id) as frames,
  min(sequence) as first_sequence, max(sequence) as last_sequence,
  sum(rejected_lines) as rejected_lines
from `{project}.ops.frames` group by collector, epoch order by collector, epoch
"""
_REJECTIONS: Final = """
select stage, reason, count(*) as count, min(detail) as example
from `{project}.raw.rejections` group by stage, reason order by stage, reason
"""
_PULL_SECONDS: Final = 5.0
_PULL_MESSAGES: Final = 100

_Key = tuple[str, str, str]
_LAYOUTS: Final = {layout.channel: layout for layout in (TRADE, AGG_TRADE)}


@dataclass(slots=True)
class Totals:
    """Control totals of one symbol at one stage; quantities are summed for trades only."""

    count: int = 0
    sum_ids: int = 0
    sum_quantity: Decimal | None = Decimal(0)
    sum_quote_quantity: Decimal | None = Decimal(0)

    def as_json(self) -> dict[str, Any]:
        """Return the totals with normalised decimal strings, so that equal totals are equal."""
        return {
            name: format(value.normalize(), "f") if isinstance(value, Decimal) else value
            for name, value in asdict(self).items()
        }


def totals_by_stage(platform: Platform, warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return one object a channel and symbol: its totals at every stage.

    Trades are certified with all totals, aggregate trades by their ids.

    `exchange` is null when the exchange is the real one, which tells no totals.
    """
    ledgers = [_get_json(f"{url}/ledger") for url in platform.collector_urls]
    # More than one life's, when the collector was restarted.
    frames = sum(life["frames"] for life in frame_ledger(warehouse))
    frames = max(frames, sum(ledger["frames"]["published"] for ledger in ledgers))
    stages = {
        "exchange": _of_exchange(platform.exchange_url),
        "received": _of_ledgers(ledgers),
        "published": count_frames(read_published(platform, frames)),
        "archived": count_frames(_archived(platform)),
        "loaded": _of_rows(warehouse.rows(_LOADED) + warehouse.rows(_LOADED_AGGREGATES)),
        "deduplicated": _of_rows(
            warehouse.rows(_DEDUPLICATED) + warehouse.rows(_DEDUPLICATED_AGGREGATES)
        ),
    }
    keys = sorted({key for totals in stages.values() if totals for key in totals}, reverse=True)
    return [
        {
            "channel": key[0],
            "market": key[1],
            "symbol": key[2],
            **{
                stage: None if totals is None else totals.get(key, _no_totals(key)).as_json()
                for stage, totals in stages.items()
            },
        }
        for key in keys
    ]


def frame_ledger(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return one object a collector's life: frames loaded and their range of sequences."""
    return warehouse.rows(_FRAMES)


def holes(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return the missing ids of every symbol as ranges."""
    return warehouse.rows(_HOLES)


def days(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return how many symbols have which verdict on each day of the market."""
    return warehouse.rows(_DAYS)


def rejections(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return the number of rejections by stage and reason, with an example."""
    return warehouse.rows(_REJECTIONS)


def count_frames(frames: Iterable[Frame]) -> dict[_Key, Totals]:
    """Decode the trades of frames and add them up by channel and symbol, each id once.

    An id comes twice where connections overlap, where a hole was healed that was none, and when a
    collector repeats what a killed one had sent.
    """
    counted: dict[_Key, Totals] = {}
    seen: set[str] = set()
    seen_ids: dict[_Key, set[int]] = {}
    for frame in frames:
        header = frame.header
        layout = _LAYOUTS.get(header.channel)
        if layout is None or header.frame_id in seen:
            continue
        seen.add(header.frame_id)
        origin = Origin(
            header.market, header.source, header.collector, header.frame_id, datetime.now(UTC)
        )
        rows = decode_batch(frame.body, header.channel, origin).rows
        if rows is None:
            continue
        is_new = []
        symbols, ids = rows.column("symbol").to_pylist(), rows.column(layout.id_column).to_pylist()
        for symbol, item_id in zip(symbols, ids, strict=True):
            known = seen_ids.setdefault((header.channel, header.market, symbol), set())
            is_new.append(item_id not in known)
            known.add(item_id)
        if not all(is_new):
            rows = rows.filter(pa.array(is_new))
        for found in totals_by_symbol(rows, layout):
            key = (header.channel, header.market, found.symbol)
            totals = counted.setdefault(key, _no_totals(key))
            totals.count += found.count
            totals.sum_ids += int(found.sum_ids)
            totals.sum_quantity = _plus(totals.sum_quantity, found.sum_quantity)
            totals.sum_quote_quantity = _plus(totals.sum_quote_quantity, found.sum_quote_quantity)
    return counted


def _of_exchange(url: str | None) -> dict[_Key, Totals] | None:
    if url is None:
        return None
    totals = _get_json(f"{url}/sim/totals")
    return _of_rows(
        {**row, "channel": channel}
        for channel, rows in (("trade", totals["trades"]), ("aggTrade", totals["agg_trades"]))
        for row in rows
    )


def _of_ledgers(ledgers: Iterable[dict[str, Any]]) -> dict[_Key, Totals]:
    """Add up what the collectors received; two of them receive everything twice."""
    received: dict[_Key, Totals] = {}
    for ledger in ledgers:
        rows = (row for row in ledger["symbols"] if row["channel"] in _LAYOUTS)
        for key, found in _of_rows(rows).items():
            totals = received.setdefault(key, _no_totals(key))
            totals.count += found.count
            totals.sum_ids += found.sum_ids
            totals.sum_quantity = _plus(totals.sum_quantity, found.sum_quantity)
            totals.sum_quote_quantity = _plus(totals.sum_quote_quantity, found.sum_quote_quantity)
    return received


def _of_rows(rows: Iterable[dict[str, Any]]) -> dict[_Key, Totals]:
    found: dict[_Key, Totals] = {}
    for row in rows:
        if not row["count"]:
            continue
        key = (row["channel"], row["market"], row["symbol"])
        totals = found[key] = _no_totals(key)
        totals.count, totals.sum_ids = int(row["count"]), int(row["sum_ids"])
        if key[0] == TRADE.channel:
            totals.sum_quantity = _decimal(row["sum_quantity"])
            totals.sum_quote_quantity = _decimal(row["sum_quote_quantity"])
    return found


def _no_totals(key: _Key) -> Totals:
    return Totals() if key[0] == TRADE.channel else Totals(0, 0, None, None)


def read_published(platform: Platform, expected: int) -> Iterator[Frame]:
    """Yield the frames that the audit subscription holds; stop when all came or none comes."""
    # A hundred full frames are more than the 4 MB that gRPC takes by default.
    channel = grpc.insecure_channel(
        platform.pubsub_host, options=[("grpc.max_receive_message_length", -1)]
    )
    with SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)) as subscriber:
        path = subscriber.subscription_path(platform.project, platform.audit_subscription)
        seen: set[str] = set()
        while len(seen) < expected:
            try:
                pulled = subscriber.pull(
                    request={"subscription": path, "max_messages": _PULL_MESSAGES},
                    timeout=_PULL_SECONDS,
                )
            except DeadlineExceeded:
                return
            if not pulled.received_messages:
                return
            for received in pulled.received_messages:
                try:
                    frame = decode_frame(received.message.data)
                except Rejected:
                    continue  # counted among the rejections
                seen.add(frame.header.frame_id)
                yield frame
            acknowledged = [received.ack_id for received in pulled.received_messages]
            subscriber.acknowledge(
                request={"subscription": path, "ack_ids": acknowledged}, timeout=_PULL_SECONDS
            )


def _archived(platform: Platform) -> Iterator[Frame]:
    """Yield the frames of all archive objects of the certified channels."""
    client = storage.Client(
        project=platform.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": platform.gcs_url},
    )
    prefix = "raw/market="
    for blob in client.list_blobs(platform.bucket, prefix=prefix):
        channel = blob.name.partition("/channel=")[2].partition("/")[0]
        if channel in _LAYOUTS and blob.name.endswith(".ndjson.zst"):
            for part in split_frames(blob.download_as_bytes(timeout=60)):
                yield decode_frame(part)


def _plus(total: Decimal | None, value: Decimal | None) -> Decimal | None:
    return None if total is None or value is None else total + value


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _get_json(url: str) -> Any:
    status, body = get(url)
    if status != 200:
        raise ConnectionError(f"{url} answered HTTP {status}: {body[:200]!r}")
    return json.loads(body)
