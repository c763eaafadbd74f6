"""Rows: the CSV of a daily file as Arrow batches, exact and checked, a block at a time.

Formats (binance-public-data's README): spot files have no header, others have one; times are in ms
before 2025 and in µs since; booleans are `True` or `true`. Binance marks aggregate trades that it
has invalidated with first and last trade id -1: they are dropped and counted. Any other value that
is not what its column holds refuses the file, with line, column and value.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from .vision import csv_in

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES: Final = 8 << 20
# A count of ms from 1970 reaches this in the year 5138, a count of µs passed it in 1973.
_MICROSECONDS_FROM: Final = 100_000_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PATTERNS: Final = {
    "id": (re.compile(r"\d{1,18}"), "an id"),
    "signed_id": (re.compile(r"-?\d{1,18}"), "an id, or -1"),
    "count": (re.compile(r"\d{1,18}"), "a count"),
    "time": (re.compile(r"\d{12,17}"), "a time in ms or µs"),
    "positive": (re.compile(r"\d{1,29}(\.\d{1,9})?"), "a decimal above 0"),
    "decimal": (re.compile(r"\d{1,29}(\.\d{1,9})?"), "a decimal from 0"),
    "flag": (re.compile(r"true|false", re.IGNORECASE), "true or false"),
    "any": (re.compile(r".*"), "anything"),
}


class Mangled(Exception):
    """A value that is not what its column holds; names file, line, column and value."""


@dataclass(frozen=True)
class Layout:
    """The columns of a kind of file, in order, with what each holds.

    Attributes:
        columns: name and kind (a key of `_PATTERNS`) of each.
        key: column that grows from line to line.
        time: column that lies in the file's day.
    """

    columns: tuple[tuple[str, str], ...]
    key: str
    time: str


LAYOUTS: Final = {
    "trades": Layout(
        (
            ("trade_id", "id"),
            ("price", "positive"),
            ("quantity", "positive"),
            ("quote_quantity", "decimal"),
            ("traded_at", "time"),
            ("is_buyer_maker", "flag"),
            ("is_best_match", "flag"),
        ),
        "trade_id",
        "traded_at",
    ),
    "aggTrades": Layout(
        (
            ("agg_trade_id", "id"),
            ("price", "decimal"),
            ("quantity", "decimal"),
            ("first_trade_id", "signed_id"),
            ("last_trade_id", "signed_id"),
            ("traded_at", "time"),
            ("is_buyer_maker", "flag"),
            ("is_best_match", "flag"),
        ),
        "agg_trade_id",
        "traded_at",
    ),
    "klines": Layout(
        (
            ("opened_at", "time"),
            *((name, "positive") for name in ("open", "high", "low", "close")),
            ("volume", "decimal"),
            ("closed_at", "time"),
            ("quote_volume", "decimal"),
            ("trades", "count"),
            ("taker_buy_volume", "decimal"),
            ("taker_buy_quote_volume", "decimal"),
            ("ignored", "any"),
        ),
        "opened_at",
        "opened_at",
    ),
}


@dataclass
class Reader:
    """Reads one file.

    Attributes:
        path: the zip.
        kind: trades, aggTrades or klines.
        day: the file's UTC day.
        rows: rows read so far, without header and invalidated ones.
        invalidated: aggregate trades that were dropped.
    """

    path: Path
    kind: str
    day: date
    rows: int = field(default=0, init=False)
    invalidated: int = field(default=0, init=False)

    def batches(self) -> Iterator[pa.Table]:
        """Yield the rows in blocks: decimals as decimal128(38, 9), times as UTC timestamps.

        Raises:
            Mangled: a value is not what its column holds.
            VisionError: the file is no zip with one CSV.
        """
        import pyarrow as pa

        line, last = 1 + self._has_header(), None
        try:
            for batch in self._parsed():
                good, last = self._checked(pa.table(batch), line, last)
                line += batch.num_rows
                self.rows += good.num_rows
                yield good
        except pa.ArrowInvalid as error:
            self._explain(str(error))

    def _has_header(self) -> bool:
        with _text(self.path) as text:
            return not re.match(r'"?-?\d', text.readline())

    def _parsed(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.csv as pc

        kinds = {
            **dict.fromkeys(("id", "signed_id", "count", "time"), pa.int64()),
            **dict.fromkeys(("positive", "decimal"), pa.decimal128(38, 9)),
            "flag": pa.bool_(),
            "any": pa.string(),
        }
        layout, header = LAYOUTS[self.kind], self._has_header()
        archive, name = csv_in(self.path)
        with archive, archive.open(name) as raw:
            if not archive.getinfo(name).file_size:
                return
            yield from pc.open_csv(
                raw,
                read_options=pc.ReadOptions(
                    column_names=[column for column, _ in layout.columns],
                    skip_rows=int(header),
                    block_size=BLOCK_BYTES,
                ),
                parse_options=pc.ParseOptions(ignore_empty_lines=False),
                convert_options=pc.ConvertOptions(
                    column_types={column: kinds[kind] for column, kind in layout.columns},
                    null_values=[],
                    true_values=["True", "true", "TRUE"],
                    false_values=["False", "false", "FALSE"],
                ),
            )

    def _checked(self, table: pa.Table, line: int, last: int | None) -> tuple[pa.Table, int | None]:
        """Return the good rows with their times, and the last key; `line` is the first row's."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        layout = LAYOUTS[self.kind]
        lines = np.arange(line, line + table.num_rows, dtype=np.int64)
        table = table.append_column("line", pa.array(lines))
        if self.kind == "aggTrades":
            minus = pa.scalar(-1, pa.int64())
            good = pc.invert(
                pc.and_(
                    pc.equal(table["first_trade_id"], minus),
                    pc.equal(table["last_trade_id"], minus),
                )
            )
            before = table.num_rows
            table = table.filter(good)
            self.invalidated += before - table.num_rows
        for name, kind in layout.columns:
            self._check_values(table, name, kind)
        keys = table[layout.key].combine_chunks()
        if len(keys):
            previous = pa.concat_arrays([pa.array([-1 if last is None else last]), keys[:-1]])
            self._refuse(table, layout.key, pc.less_equal(keys, previous), "more than before it")
            last = keys[-1].as_py()
        for name, kind in layout.columns:
            if kind == "time":
                table = self._with_times(table, name, name == layout.time)
        return table.drop_columns(["line"]), last

    def _check_values(self, table: pa.Table, name: str, kind: str) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        expected = _PATTERNS[kind][1]
        column = table[name]
        if kind in ("id", "signed_id", "count", "time"):
            self._refuse(table, name, pc.less(column, pa.scalar(0, pa.int64())), expected)
        elif kind in ("positive", "decimal"):
            zero = pa.scalar(0, pa.int64()).cast(column.type)
            is_bad: Callable[..., Any] = pc.less if kind == "decimal" else pc.less_equal
            self._refuse(table, name, is_bad(column, zero), expected)

    def _with_times(self, table: pa.Table, name: str, is_of_day: bool) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        counts = table[name]
        is_ms = pc.less(counts, pa.scalar(_MICROSECONDS_FROM, pa.int64()))
        micros = pc.if_else(is_ms, pc.multiply(counts, pa.scalar(1000, pa.int64())), counts)
        if is_of_day:
            start = _microseconds(self.day)
            outside = pc.or_(
                pc.less(micros, pa.scalar(start, pa.int64())),
                pc.greater_equal(micros, pa.scalar(_microseconds(self.day, 1), pa.int64())),
            )
            self._refuse(table, name, outside, f"a time on {self.day}")
        times = micros.cast(pa.timestamp("us", tz="UTC"))
        return table.set_column(table.column_names.index(name), name, times)

    def _refuse(self, table: pa.Table, name: str, is_bad: Any, expected: str) -> None:
        import pyarrow.compute as pc

        if not pc.any(is_bad).as_py():
            return
        row = pc.index(is_bad, True).as_py()
        line, value = table["line"][row].as_py(), table[name][row].as_py()
        raise Mangled(
            f"{self.path.stem}.csv, line {line}, {name}: expected {expected}, was {value}"
        )

    def _explain(self, reason: str) -> None:
        """Find the value that Arrow refused, line by line; it names no line itself."""
        columns = LAYOUTS[self.kind].columns
        has_header = self._has_header()
        with _text(self.path) as text:
            for number, values in enumerate(csv.reader(text), 1):
                if number == 1 and has_header:
                    continue
                place = f"{self.path.stem}.csv, line {number}"
                if len(values) != len(columns):
                    raise Mangled(
                        f"{place}: expected {len(columns)} columns, was {len(values)}:"
                        f" {','.join(values)[:200]!r}"
                    ) from None
                for (name, kind), value in zip(columns, values, strict=True):
                    pattern, expected = _PATTERNS[kind]
                    if not pattern.fullmatch(value):
                        raise Mangled(
                            f"{place}, {name}: expected {expected}, was {value!r}"
                        ) from None
        raise Mangled(f"{self.path.stem}.csv: {reason}")


def _microseconds(day: date, later: int = 0) -> int:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=later)
    return (start - _EPOCH) // timedelta(microseconds=1)


@contextlib.contextmanager
def _text(path: Path) -> Iterator[IO[str]]:
    """Open the CSV of a zip as text."""
    archive, name = csv_in(path)
    with archive, archive.open(name) as raw:
        yield io.TextIOWrapper(raw, "utf-8", "replace", newline="")
