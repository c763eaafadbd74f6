"""Is what the collector received what the archive, the tables and the marts hold, minute by minute?

For `python -m sandbox verify`. Control totals of trades by symbol and minute, each id once: the
archive's are counted here from its objects, the tables' and the marts' by SQL; what the collector
counted at the socket is held against the archive by symbol and by sequence. An inequality is told
with the ids and the frames that it comes from.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from beam_jobs.verify_archive import MANIFEST, verify_object
from market_data.batches import decode_batch
from market_data.decode import Origin
from market_data.frames import Frame, FrameHeader, FrameKey, decode_frame, split_frames
from sandbox.probes import get
from sandbox.progress import Reader
from sandbox.settings import Platform
from sandbox.warehouse import Warehouse

CHANNEL: Final = "trade"
# Of services.collector_environment: the one whose ledger is asked.
COLLECTOR: Final = "sandbox"
_MAX_NAMED: Final = 5
_GATHERING_SECONDS: Final = 90.0  # a minute is the job's default for an object
_DOWNLOAD_SECONDS: Final = 60.0
_EVER: Final = datetime(2017, 7, 1, tzinfo=UTC)  # Binance opened then

# Floored by unix_micros: the emulator's unix_seconds rounds.
_TABLE: Final = """
select symbol, timestamp_micros(div(unix_micros(traded_at), 60000000) * 60000000) as opened_at,
  count(*) as trades, sum(cast(trade_id as numeric)) as ids,
  sum(quantity) as volume, sum(quote_quantity) as quote_volume
from (
  select symbol, trade_id, min(traded_at) as traded_at, min(quantity) as quantity,
    min(quote_quantity) as quote_quantity
  from `{project}.{table}`
  where traded_at >= timestamp '{since}' {and_only}
  group by symbol, trade_id
)
group by symbol, opened_at
"""
_LOADED: Final = ("raw.trades", "and source != 'archive'")
_DEDUPLICATED: Final = ("intermediate.int_trades_deduplicated", "and source != 'archive'")
_MARTS: Final = "select table_name from `{project}.marts.INFORMATION_SCHEMA.TABLES`"
_CANDLES: Final = """
select symbol, opened_at, trades, cast(null as numeric) as ids, volume, quote_volume
from `{project}.marts.ohlcv_1m` where opened_at >= timestamp '{since}' and trades > 0
"""
# Minutes of history that was loaded from Binance's files: no collector received them.
_LOADED_HISTORY: Final = """
select distinct symbol,
  timestamp_micros(div(unix_micros(traded_at), 60000000) * 60000000) as opened_at
from `{project}.raw.trades` where traded_at >= timestamp '{since}' and source = 'archive'
"""
_IDS: Final = """
select distinct trade_id from `{project}.{table}`
where symbol = '{symbol}' and traded_at >= timestamp '{since}'
  and timestamp_micros(div(unix_micros(traded_at), 60000000) * 60000000) = timestamp '{minute}'
"""

Cell = tuple[str, datetime]  # symbol and minute


@dataclass(frozen=True, slots=True)
class Sums:
    """Control totals of a symbol and minute; `ids` is None where the stage has no ids."""

    trades: int
    ids: int | None
    volume: Decimal
    quote_volume: Decimal

    def agrees(self, other: Sums) -> bool:
        """Whether all that both have is equal."""
        ids = None in (self.ids, other.ids) or self.ids == other.ids
        return ids and (self.trades, self.volume, self.quote_volume) == (
            other.trades,
            other.volume,
            other.quote_volume,
        )


Stage = dict[Cell, Sums]


@dataclass(slots=True)
class Archived:
    """What the archive's frames hold.

    Attributes:
        trades: columns symbol, trade_id, opened_at, quantity, quote_quantity, frame; ids repeat.
        frames: sequences by collector and epoch.
        received: lines by symbol as the collector counted them, repeats included.
    """

    trades: pa.Table
    frames: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)

    @property
    def stage(self) -> Stage:
        """Control totals by symbol and minute, each id once."""
        once = self.trades.group_by(["symbol", "trade_id"]).aggregate(
            [("opened_at", "min"), ("quantity", "min"), ("quote_quantity", "min")]
        )
        grouped = once.group_by(["symbol", "opened_at_min"]).aggregate(
            [
                *(("trade_id", "count"), ("trade_id", "sum")),
                *(("quantity_min", "sum"), ("quote_quantity_min", "sum")),
            ]
        )
        return {
            (row["symbol"], row["opened_at_min"]): Sums(
                row["trade_id_count"],
                row["trade_id_sum"],
                row["quantity_min_sum"],
                row["quote_quantity_min_sum"],
            )
            for row in grouped.to_pylist()
        }

    def frames_of(self, cell: Cell) -> dict[int, str]:
        """Return the frame of each id of a symbol and minute."""
        rows = self.trades.filter(
            pc.and_(
                pc.equal(self.trades["symbol"], cell[0]),
                pc.equal(self.trades["opened_at"], pa.scalar(cell[1], pa.timestamp("us", "UTC"))),
            )
        )
        return dict(zip(rows["trade_id"].to_pylist(), rows["frame"].to_pylist(), strict=True))


def archived_frames(platform: Platform, problems: list[str]) -> Iterator[Frame]:
    """Yield all frames of the archive, those of other channels than trades without their lines.

    Objects that are not what their manifests say are added to `problems`.
    """
    client = storage.Client(
        project=platform.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": platform.gcs_url},
    )
    bucket = client.bucket(platform.bucket)
    for blob in client.list_blobs(platform.bucket, prefix="raw/market="):
        if not blob.name.endswith(MANIFEST):
            continue
        manifest = json.loads(blob.download_as_bytes(timeout=_DOWNLOAD_SECONDS))
        headers = msgspec.convert(manifest["frames"], list[FrameHeader], strict=False)
        if headers[0].channel != CHANNEL:
            yield from (Frame(header, b"") for header in headers)
            continue
        name = manifest["object"]
        data = bucket.blob(name).download_as_bytes(timeout=_DOWNLOAD_SECONDS)
        found = verify_object(data, manifest).problems
        problems += [f"{name}: {problem}" for problem in found]
        if not found:
            yield from map(decode_frame, split_frames(data))


def read_archive(frames: Iterable[Frame], since: datetime) -> Archived:
    """Decode the trades of frames, from a minute on."""
    parts: list[pa.Table] = []
    archived = Archived(pa.table({}))
    for frame in frames:
        header = frame.header
        sequences = archived.frames.setdefault((header.collector, header.epoch), set())
        is_repeated = header.sequence in sequences  # the broker delivered it again, much later
        sequences.add(header.sequence)
        if is_repeated or header.channel != CHANNEL:
            continue
        if header.collector == COLLECTOR:
            for symbol, totals in header.symbols.items():
                archived.received[symbol] = archived.received.get(symbol, 0) + totals.count
        origin = Origin(header.market, header.source, header.collector, header.frame_id, since)
        rows = decode_batch(frame.body, CHANNEL, origin).rows
        if rows is not None and rows.num_rows:
            parts.append(_columns(rows, header.frame_id))
    trades = pa.concat_tables(parts) if parts else _columns(_NO_ROWS, "")
    from_then = pc.greater_equal(trades["opened_at"], pa.scalar(since, pa.timestamp("us", "UTC")))
    archived.trades = trades.filter(from_then)
    return archived


_NO_ROWS: Final = pa.RecordBatch.from_pydict(
    {
        "symbol": pa.array([], pa.string()),
        "trade_id": pa.array([], pa.int64()),
        "traded_at": pa.array([], pa.timestamp("us", "UTC")),
        "quantity": pa.array([], pa.decimal128(38, 9)),
        "quote_quantity": pa.array([], pa.decimal128(38, 9)),
    }
)


def _columns(rows: pa.RecordBatch, frame_id: str) -> pa.Table:
    return pa.table(
        {
            "symbol": rows.column("symbol").cast(pa.string()),
            "trade_id": rows.column("trade_id").cast(pa.int64()),
            "opened_at": pc.floor_temporal(rows.column("traded_at"), unit="minute"),
            "quantity": rows.column("quantity").cast(pa.decimal128(38, 9)),
            "quote_quantity": rows.column("quote_quantity").cast(pa.decimal128(38, 9)),
            # One name for all rows: a day has tens of millions of them.
            "frame": pa.DictionaryArray.from_arrays(
                np.zeros(rows.num_rows, np.int32), pa.array([frame_id], pa.string())
            ),
        }
    )


def compare_stages(
    platform: Platform, since: datetime | None = None, *, is_open: bool = False
) -> tuple[list[str], list[str]]:
    """Return how the stages compare, a line a symbol, and a sentence for each inequality.

    Args:
        platform: what is looked at.
        since: the first minute; None for all, and then the collector's account too.
        is_open: more is on its way: the last minute that a stage has reached and later ones are
            left out, and so are sequences and the collector's account.
    """
    problems: list[str] = []
    archived = read_archive(archived_frames(platform, problems), since or _EVER)
    with Warehouse(platform.project, platform.bigquery_url) as warehouse:
        asker = _Asker(warehouse, since or _EVER)
        stages = {"archive": archived.stage, **asker.stages()}
        if is_open:
            stages = settled(stages)
        problems += [
            f"{cell[0]} {cell[1]:%Y-%m-%d %H:%M}: {text}" for cell, text in inequalities(stages)
        ]
        problems += _causes(stages, asker, archived)
    if not is_open:
        missing = wait_archived(platform, missing_frames(archived.frames))
        problems += sequence_problems(missing)
        if since is None:
            ledger = json.loads(get(f"{platform.collector_url}/ledger")[1])
            problems += socket_problems(archived, ledger)
    return table(stages), problems


def settled(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """Return the stages without the last minute that all of them have reached, and later ones."""
    lasts = [max((cell[1] for cell in stage), default=_EVER) for stage in stages.values()]
    return {
        name: {cell: sums for cell, sums in stage.items() if cell[1] < min(lasts)}
        for name, stage in stages.items()
    }


def inequalities(stages: Mapping[str, Stage]) -> Iterator[tuple[Cell, str]]:
    """Yield each symbol and minute in which a stage is not the one before it."""
    names = [*stages]
    for cell in sorted({cell for stage in stages.values() for cell in stage}):
        for before, name in pairwise(names):
            one, other = stages[before].get(cell), stages[name].get(cell)
            if one is None or other is None or not one.agrees(other):
                yield cell, f"{before} has {_shown(one)}, {name} has {_shown(other)}"
                break


def table(stages: Mapping[str, Stage]) -> list[str]:
    """Return a line a symbol: minutes and trades at each stage, and whether they are equal."""
    unequal = {cell[0] for cell, _ in inequalities(stages)}
    symbols = sorted({cell[0] for stage in stages.values() for cell in stage})
    lines = [f"{'trades by minute':<16}{'minutes':>9}" + "".join(f"{n:>14}" for n in stages)]
    for symbol in symbols:
        minutes = len({cell for stage in stages.values() for cell in stage if cell[0] == symbol})
        counts = "".join(
            f"{sum(sums.trades for cell, sums in stage.items() if cell[0] == symbol):>14,}"
            for stage in stages.values()
        )
        verdict = "  DIFFERENT" if symbol in unequal else "  equal"
        lines.append(f"{symbol:<16}{minutes:>9}{counts}{verdict}")
    return lines


def socket_problems(archived: Archived, ledger: Mapping[str, Any]) -> list[str]:
    """Hold what the collector counted against what its frames in the archive say."""
    counted = {
        row["symbol"]: int(row["count"]) for row in ledger["symbols"] if row["channel"] == CHANNEL
    }
    return [
        f"{symbol}: the collector received {counted.get(symbol, 0)} trades,"
        f" its frames in the archive have {archived.received.get(symbol, 0)}"
        for symbol in sorted(counted.keys() | archived.received.keys())
        if counted.get(symbol, 0) != archived.received.get(symbol, 0)
    ]


def missing_frames(frames: Mapping[tuple[str, int], set[int]]) -> set[FrameKey]:
    """Return the frames that are missing in the archive before the last one of each life."""
    return {
        (collector, epoch, sequence)
        for (collector, epoch), found in frames.items()
        for sequence in set(range(1, max(found) + 1)) - found
    }


def wait_archived(platform: Platform, frames: set[FrameKey]) -> set[FrameKey]:
    """Wait while frames may still be gathered, and return those that do not get archived.

    Channels have objects of their own, and a collector's control messages never end: a later
    frame of one channel may lie in the archive before an earlier one of another.
    """
    reader = Reader(platform)
    limit = time.monotonic() + _GATHERING_SECONDS
    while frames and time.monotonic() < limit:
        time.sleep(1)
        frames = reader.not_archived(frames)
    return frames


def sequence_problems(missing: set[FrameKey]) -> list[str]:
    """Return a sentence for each life of a collector of which frames are missing."""
    lives: dict[tuple[str, int], set[int]] = {}
    for collector, epoch, sequence in missing:
        lives.setdefault((collector, epoch), set()).add(sequence)
    return [
        f"{collector}, epoch {epoch}: the archive misses the frames {_ranges(sequences)}"
        for (collector, epoch), sequences in sorted(lives.items())
    ]


class _Asker:
    """Asks the warehouse for stages and ids."""

    def __init__(self, warehouse: Warehouse, since: datetime) -> None:
        self._warehouse = warehouse
        self._since = since.isoformat()

    def stages(self) -> dict[str, Stage]:
        """Return what the table and, once dbt has built them, the marts hold."""
        history = {(row["symbol"], row["opened_at"]) for row in self._rows(_LOADED_HISTORY)}
        found = {"table": self._stage(*_LOADED)}
        if any(row["table_name"] == "ohlcv_1m" for row in self._rows(_MARTS)):
            found["mart"] = self._stage(*_DEDUPLICATED)
            found["candles"] = _stage_of(self._rows(_CANDLES))
        return {
            name: {cell: sums for cell, sums in stage.items() if cell not in history}
            for name, stage in found.items()
        }

    def ids(self, stage: str, cell: Cell) -> set[int]:
        """Return the ids of a symbol and minute."""
        name = (_LOADED if stage == "table" else _DEDUPLICATED)[0]
        sql = _IDS.replace("{table}", name).replace("{symbol}", cell[0])
        rows = self._rows(sql.replace("{minute}", cell[1].isoformat()))
        return {int(row["trade_id"]) for row in rows}

    def _stage(self, name: str, and_only: str) -> Stage:
        sql = _TABLE.replace("{table}", name).replace("{and_only}", and_only)
        return _stage_of(self._rows(sql))

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        return self._warehouse.rows(sql.replace("{since}", self._since))


def _causes(stages: Mapping[str, Stage], asker: _Asker, archived: Archived) -> Iterator[str]:
    """Yield, for each symbol and minute that differs, the ids and frames that make it so."""
    for cell, _ in inequalities(stages):
        frames = archived.frames_of(cell)
        before, ids = "archive", set(frames)
        for name in ("table", *(["mart"] if "mart" in stages else [])):
            found = asker.ids(name, cell)
            for missing, where in ((ids - found, f"{before} and not in the {name}"),
                                   (found - ids, f"{name} and not in the {before}")):  # fmt: skip
                if missing:
                    named = sorted({frames[each] for each in missing if each in frames})
                    text = f"{cell[0]}: the trades {_ranges(missing)} are in the {where}"
                    yield text + (f"; frames {', '.join(named[:_MAX_NAMED])}" if named else "")
            before, ids = name, found


def _stage_of(rows: Iterable[Mapping[str, Any]]) -> Stage:
    return {
        (row["symbol"], row["opened_at"]): Sums(
            int(row["trades"]),
            None if row["ids"] is None else int(row["ids"]),
            Decimal(row["volume"]),
            Decimal(row["quote_volume"]),
        )
        for row in rows
    }


def _shown(sums: Sums | None) -> str:
    if sums is None:
        return "nothing"
    ids = "" if sums.ids is None else f", sum of ids {sums.ids}"
    volumes = f"{sums.volume.normalize():f} and {sums.quote_volume.normalize():f}"
    return f"{sums.trades} trades{ids}, volumes {volumes}"


def _ranges(ids: set[int]) -> str:
    """Return ids as a few ranges: 3 to 5, 9, …."""
    shown: list[list[int]] = []
    for each in sorted(ids):
        if shown and each == shown[-1][1] + 1:
            shown[-1][1] = each
        else:
            shown.append([each, each])
    texts = [str(low) if low == high else f"{low} to {high}" for low, high in shown[:_MAX_NAMED]]
    return ", ".join([*texts, "…"] if len(shown) > _MAX_NAMED else texts)
