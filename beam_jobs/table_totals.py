"""Ask BigQuery what its tables have of archived frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.cloud import bigquery

from beam_jobs.archive import ArchiveKey
from beam_jobs.compare import KEYS, FoundTotals, FrameCount, Span, layout_of
from beam_jobs.tables import placed
from market_data.decode import to_microseconds
from market_data.layouts import Layout
from market_data.tables import FRAMES, Table
from market_data.totals import SymbolTotals

# A day of a busy channel is scanned for an hour of it.
QUERY_SECONDS: Final = 300.0
# Clocks of collector and job may differ: a frame is entered after it was closed, or nearly so.
_CLOCKS: Final = timedelta(hours=1)
# Ids are summed in two parts: times in µs leave 64 bits after some thousand rows, and the
# emulator's NUMERIC does not take them.
_PART: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Entered:
    """A frame's first entry in the ledger: when it was loaded, and how its lines reached us."""

    loaded_at: datetime
    source: str


class TableTotals:
    """The tables that frames are compared with.

    Args:
        client: BigQuery's client.
        dataset: dataset of all tables; None for each table's own.
    """

    def __init__(self, client: bigquery.Client, dataset: str | None) -> None:
        self._client = client
        self._dataset = dataset

    def totals(self, channel: str, frames: Iterable[FrameCount]) -> FoundTotals:
        """Return what the table of a channel has of the frames, by frame and symbol.

        Other frames of the same time are among them.
        """
        spans = [frame.span for frame in frames if frame.span is not None]
        if not spans:
            return {}
        layout = layout_of(channel)
        quantities = layout.quantity_columns or ()
        columns = ", ".join(("frame_id", "symbol", *KEYS[channel], *quantities))
        row_id = _row_id(layout)
        sums = "".join(f", sum({column}) as {column}" for column in quantities)
        sql = f"""
            select frame_id, symbol, count(*) as row_count, min({row_id}) as first_id,
                max({row_id}) as last_id, sum(div({row_id}, {_PART})) as sum_high,
                sum(mod({row_id}, {_PART})) as sum_low{sums}
            from (
                select distinct {columns} from {self._name(layout.table)}
                where {_within(layout)}
            )
            group by frame_id, symbol
        """  # noqa: S608 # names from our own schema
        return {
            (row["frame_id"], row["symbol"]): SymbolTotals(
                symbol=row["symbol"],
                first_id=row["first_id"],
                last_id=row["last_id"],
                count=row["row_count"],
                sum_ids=Decimal(int(row["sum_high"]) * _PART + int(row["sum_low"])),
                sum_quantity=row[quantities[0]] if quantities else None,
                sum_quote_quantity=row[quantities[1]] if quantities else None,
            )
            for row in self._rows(sql, _parameters(reduce(or_, spans)))
        }

    def ids(
        self, channel: str, frames: Iterable[FrameCount]
    ) -> dict[tuple[str, str], npt.NDArray[np.int64]]:
        """Return the ids that the table has of the frames, by frame and symbol.

        Nothing for a channel that needs more than an id to tell its rows apart.
        """
        frames = [frame for frame in frames if frame.span is not None]
        if not frames or len(KEYS[channel]) > 1:
            return {}
        layout = layout_of(channel)
        sql = f"""
            select distinct frame_id, symbol, {_row_id(layout)} as row_id
            from {self._name(layout.table)}
            where {_within(layout)} and frame_id in unnest(@frames)
        """  # noqa: S608 # names from our own schema
        names = bigquery.ArrayQueryParameter("frames", "STRING", [f.frame_id for f in frames])
        spans = [frame.span for frame in frames if frame.span is not None]
        found: dict[tuple[str, str], list[int]] = {}
        for row in self._rows(sql, [*_parameters(reduce(or_, spans)), names]):
            found.setdefault((row["frame_id"], row["symbol"]), []).append(row["row_id"])
        return {key: np.array(ids, np.int64) for key, ids in found.items()}

    def entered(self, key: ArchiveKey) -> dict[str, Entered]:
        """Return the frames of an hour of arrival that are in the ledger, by id."""
        start = datetime.strptime(f"{key.hour}+0000", "%Y-%m-%dT%H%z")
        sql = f"""
            select frame_id, min(loaded_at) as first_loaded_at, min(source) as first_source
            from {self._name(FRAMES)}
            where market = @market and channel = @channel
                and loaded_at >= timestamp_micros(@since)
                and closed_at >= timestamp_micros(@first_at)
                and closed_at < timestamp_micros(@end_at)
            group by frame_id
        """  # noqa: S608 # names from our own schema
        parameters = [
            bigquery.ScalarQueryParameter("market", "STRING", key.market),
            bigquery.ScalarQueryParameter("channel", "STRING", key.channel),
            _time("since", to_microseconds(start - _CLOCKS)),
            _time("first_at", to_microseconds(start)),
            _time("end_at", to_microseconds(start + timedelta(hours=1))),
        ]
        return {
            row["frame_id"]: Entered(row["first_loaded_at"].astimezone(UTC), row["first_source"])
            for row in self._rows(sql, parameters)
        }

    def _name(self, table: Table) -> str:
        return f"`{self._client.project}.{placed(table, self._dataset).full_name}`"

    def _rows(self, sql: str, parameters: list[Any]) -> Iterable[Mapping[str, Any]]:
        rows: Iterable[Mapping[str, Any]] = self._client.query_and_wait(
            sql,
            job_config=bigquery.QueryJobConfig(query_parameters=parameters),
            wait_timeout=QUERY_SECONDS,
            retry=None,
            job_retry=None,
        )
        return rows


def _row_id(layout: Layout) -> str:
    """Return the expression of a row's id as a whole number."""
    is_number = layout.table.arrow_schema.field(layout.id_column).type == pa.int64()
    return layout.id_column if is_number else f"unix_micros({layout.id_column})"


def _within(layout: Layout) -> str:
    """Return the condition that rows lie in the span of the parameters."""
    return f"""
        {layout.table.partition_column}
            between timestamp_micros(@first_at) and timestamp_micros(@last_at)
        and received_at
            between timestamp_micros(@first_received_at) and timestamp_micros(@last_received_at)
    """


def _parameters(span: Span) -> list[bigquery.ScalarQueryParameter]:
    return [
        _time(field.name, value) for field, value in zip(fields(span), astuple(span), strict=True)
    ]


def _time(name: str, microseconds: int) -> bigquery.ScalarQueryParameter:
    """Return a time as whole µs: a constant that BigQuery prunes partitions by."""
    return bigquery.ScalarQueryParameter(name, "INT64", microseconds)
