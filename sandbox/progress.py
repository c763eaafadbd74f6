"""How far the data has come: one number per stage, read from the running platform.

`Reader.read` asks the exchange, the collector, Cloud Storage and BigQuery; `Progress` is what they
said, and says with `missing` what is still on its way. Used by `sandbox.demo` and `sandbox.view`.
A stage that does not answer keeps its last numbers: a restarting service must not end the view.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from market_data.frames import FrameKey
from sandbox.bigquery.rest import QueryError, Row, query
from sandbox.probes import get
from sandbox.settings import Platform

# `{ids}` is `count(distinct trade_id)` for certain or `count(*)` for a glance.
_TRADES_SQL: Final = """
select sum(ids) as ids, sum(present) as present,
  sum(greatest(last_id - first_id + 1 - ids, 0)) as missing, unix_micros(max(newest)) as newest
from (
  select {ids} as ids, count(*) as present, min(trade_id) as first_id, max(trade_id) as last_id,
    max(received_at) as newest
  from `{project}.raw.trades` group by market, symbol
)
"""
_LOADED_SQL: Final = """
select distinct collector, epoch, sequence from `{project}.ops.frames`
"""
_FRAMES_SQL: Final = """
select collector, epoch, count(distinct sequence) as frames
from `{project}.ops.frames` group by collector, epoch
"""
_KLINES_SQL: Final = "select count(*) as present from `{project}.raw.klines`"
_REJECTIONS_SQL: Final = """
select reason, count(*) as present from `{project}.raw.rejections` group by reason order by reason
"""
_CANDLES_SQL: Final = "select count(*) as present from `{project}.marts.ohlcv_1m`"
_LATEST_SQL: Final = """
select symbol, unix_micros(opened_at) as opened_us, open, high, low, close, volume, trades
from `{project}.marts.ohlcv_1m`
qualify row_number() over (partition by symbol order by opened_at desc) = 1
order by quote_volume desc limit {limit}
"""
_PAGE: Final = 1000
_REST: Final = 9  # times as long as a look took
_MANIFEST: Final = ".manifest.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """The numbers of one moment. Trades are counted by id, each once.

    Attributes:
        exchange_now: the exchange's clock, None when it is the real one.
        sent: trades that the exchange sent, None when it can't tell.
        is_sent_out: True when a recording was served to its end.
        received: trades that the collectors made durable, repeats included.
        epoch: of the collector's life.
        sealed: frames of that life.
        published: frames of that life that Pub/Sub acknowledged.
        pending: frames in the collectors' spools.
        objects: archive objects.
        object_bytes: their size.
        archived_frames: distinct frames of all lives in the archive's manifests.
        loaded_frames: distinct frames of that life in ops.frames.
        all_loaded_frames: distinct frames of all lives in ops.frames.
        loaded: trades in raw.trades; each once only if read exactly.
        rows: rows in raw.trades.
        holes: trade ids missing in raw.trades between the first and the last of their symbol.
        klines: rows in raw.klines.
        newest: receive time of the newest loaded trade, in µs since 1970.
        rejections: rejected lines by reason.
        candles: rows in marts.ohlcv_1m.
        latest: newest candle of the busiest symbols.
    """

    exchange_now: datetime | None = None
    sent: int | None = None
    is_sent_out: bool = False
    received: int = 0
    epoch: int = 0
    sealed: int = 0
    published: int = 0
    pending: int = 0
    objects: int = 0
    object_bytes: int = 0
    archived_frames: int = 0
    loaded_frames: int = 0
    all_loaded_frames: int = 0
    loaded: int = 0
    rows: int = 0
    holes: int = 0
    klines: int = 0
    newest: int | None = None
    rejections: Mapping[str, int] = field(default_factory=dict)
    candles: int = 0
    latest: tuple[Row, ...] = ()

    def missing(self, frames: int, *, with_archive: bool = True) -> str:
        """Say what is still on its way, empty when nothing is.

        Args:
            frames: number of frames to wait for; later ones may still be under way.
            with_archive: the archive must have every frame that is loaded.
        """
        if self.sent is not None and self.received < self.sent:
            return f"received {self.received:,} of {self.sent:,} trades"
        if self.pending or self.published < frames:
            return f"published {self.published:,} of {frames:,} frames, {self.pending:,} pending"
        if self.loaded_frames < frames:
            return f"loaded {self.loaded_frames:,} of {frames:,} frames"
        if self.rows < self.received:
            return f"loaded {self.rows:,} of {self.received:,} trades"
        if self.holes:
            return f"{self.holes:,} trades are missing in between"
        if self.sent is not None and self.loaded < self.sent:
            return f"loaded {self.loaded:,} of {self.sent:,} trades"
        if with_archive and self.archived_frames < self.all_loaded_frames:
            return f"archived {self.archived_frames:,} of {self.all_loaded_frames:,} frames"
        return ""

    def lag_seconds(self, now: datetime) -> float | None:
        """Return the age of the newest loaded trade, None before the first."""
        return None if self.newest is None else now.timestamp() - self.newest / 1e6


class Reader:
    """Reads the progress of a platform, each time on from the last.

    Args:
        platform: what to look at.
        latest: how many symbols' newest candles.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        latest: int = 5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._platform = platform
        self._clock = clock
        self._due = float("-inf")
        self._latest = latest
        self._last = Progress()
        self._manifests: set[str] = set()
        self._archived: set[FrameKey] = set()

    def read_stream(self) -> Progress:
        """Read the exchange and the collectors, of which frames are counted for the first."""
        changes: dict[str, Any] = {}
        if self._platform.exchange_url is not None:
            status = _get_json(f"{self._platform.exchange_url}/sim/status")
            totals = _get_json(f"{self._platform.exchange_url}/sim/totals")
            if status and totals:
                changes |= exchange_progress(status, totals)
        first, *others = (_get_json(f"{url}/ledger") for url in self._platform.collector_urls)
        if first:
            changes |= collector_progress(first)
            for other in (collector_progress(ledger) for ledger in others if ledger):
                changes["received"] += other["received"]
                changes["pending"] += other["pending"]
        self._last = replace(self._last, **changes)
        return self._last

    def read(self, *, exactly: bool = False) -> Progress:
        """Read every stage.

        Looking must not slow down what is looked at: unless `exactly`, tables and archive are
        asked so seldom that it takes a tenth of the time, and a trade that was loaded twice
        counts twice.
        """
        self.read_stream()
        began = self._clock()
        if exactly or began >= self._due:
            stages = self._archive() | self._tables(exactly) | self._candles()
            self._last = replace(self._last, **stages)
            ended = self._clock()
            self._due = ended + _REST * (ended - began)
        return self._last

    def loaded_frames(self) -> set[FrameKey]:
        """Return all frames in the ledger.

        Raises:
            QueryError: BigQuery does not answer.
        """
        return {
            (str(row["collector"]), int(row["epoch"] or 0), int(row["sequence"] or 0))
            for row in self._query(_LOADED_SQL)
        }

    def not_archived(self, frames: set[FrameKey]) -> set[FrameKey]:
        """Read the archive's new manifests; return those of the frames that are in none."""
        self._archive()
        return frames - self._archived

    def _query(self, sql: str) -> list[Row]:
        project = self._platform.project
        text = sql.replace("{project}", project).replace("{limit}", str(self._latest))
        return query(self._platform.bigquery_url, project, text)

    def _tables(self, exactly: bool) -> dict[str, Any]:
        try:
            ids = "count(distinct trade_id)" if exactly else "count(*)"
            trades = self._query(_TRADES_SQL.replace("{ids}", ids))[0]
            frames = self._query(_FRAMES_SQL)
            klines = self._query(_KLINES_SQL)[0]
            rejections = self._query(_REJECTIONS_SQL)
        except QueryError:
            return {}
        return {
            "loaded": int(trades["ids"] or 0),
            "rows": int(trades["present"] or 0),
            "holes": int(trades["missing"] or 0),
            "newest": int(trades["newest"]) if trades["newest"] else None,
            "loaded_frames": sum(
                int(row["frames"] or 0) for row in frames if row["epoch"] == str(self._last.epoch)
            ),
            "all_loaded_frames": sum(int(row["frames"] or 0) for row in frames),
            "klines": int(klines["present"] or 0),
            "rejections": {str(row["reason"]): int(row["present"] or 0) for row in rejections},
        }

    def _candles(self) -> dict[str, Any]:
        try:  # there is no such table before dbt ran for the first time
            present = self._query(_CANDLES_SQL)[0]["present"]
            return {"candles": int(present or 0), "latest": tuple(self._query(_LATEST_SQL))}
        except QueryError:
            return {}

    def _archive(self) -> dict[str, Any]:
        sizes = self._list_objects()
        if sizes is None:
            return {}
        manifests = {name for name in sizes if name.endswith(_MANIFEST)}
        for name in manifests - self._manifests:
            if manifest := _get_json(f"{self._objects}/{quote(name, safe='')}?alt=media"):
                self._manifests.add(name)
                self._archived |= {
                    (each["collector"], each["epoch"], each["sequence"])
                    for each in manifest["frames"]
                }
        return {
            "objects": len(sizes) - len(manifests),
            "object_bytes": sum(size for name, size in sizes.items() if name not in manifests),
            "archived_frames": len(self._archived),
        }

    @property
    def _objects(self) -> str:
        return f"{self._platform.gcs_url}/storage/v1/b/{self._platform.bucket}/o"

    def _list_objects(self) -> dict[str, int] | None:
        """Return the size of each archive object and manifest, None when nobody answers."""
        sizes: dict[str, int] = {}
        token = ""
        while True:
            parameters = f"?prefix=raw/&maxResults={_PAGE}&pageToken={quote(token)}"
            page = _get_json(self._objects + parameters)
            if page is None:
                return None
            sizes |= {item["name"]: int(item["size"]) for item in page.get("items", ())}
            token = page.get("nextPageToken", "")
            if not token:
                return sizes


def exchange_progress(status: Mapping[str, Any], totals: Mapping[str, Any]) -> dict[str, Any]:
    """Read the answers to `/sim/status` and `/sim/totals`."""
    return {
        "exchange_now": datetime.fromisoformat(status["now"]).astimezone(UTC),
        "is_sent_out": bool(status["done"]),
        "sent": sum(account["count"] for account in totals["trades"]),
    }


def collector_progress(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """Read the collector's `/ledger`."""
    frames = ledger["frames"]
    positions = [each for each in ledger["symbols"] if each["channel"] == "trade"]
    return {
        "epoch": ledger["epoch"],
        "received": sum(position["count"] for position in positions),
        "sealed": frames["sealed"],
        "published": frames["published"],
        "pending": frames["pending"],
    }


def _get_json(url: str) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        status, body = get(url)
        if status == 200:
            document: dict[str, Any] = json.loads(body)
            return document
    return None
