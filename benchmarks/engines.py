"""Peers of compaction and candles: other engines doing the same work, one process on one core each.

`python -m benchmarks.engines WORK ENGINE FOLDER` prints rows, seconds and memory as JSON. CPU
seconds are user and system together; beside other work read them, not the wall seconds.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.tools import peak_mib

HOUR = datetime(2026, 11, 22, 17, tzinfo=UTC)


def compact_ours(folder: Path) -> int:
    """Compact with `plugins.market_ops`: checked, sorted, de-duplicated, read back."""
    from plugins.market_ops.archive.compact import Hour, compact_hour
    from plugins.market_ops.archive.storage import FolderStore

    receipt = compact_hour(FolderStore(folder), Hour("spot", HOUR))
    return sum(entry["lines"] for entry in receipt["objects"].values())


def compact_polars(folder: Path) -> int:
    """Decode, sort, de-duplicate and write with polars; nothing is checked or read back."""
    import polars as pl

    text, exact = pl.String, pl.Decimal(38, 9)
    data = {"s": text, "t": pl.Int64, "p": text, "q": text, "T": pl.Int64, "m": pl.Boolean}
    files = sorted(folder.rglob("*.ndjson"))
    frame = pl.scan_ndjson(files, schema={"data": pl.Struct(data)}).unnest("data")
    frame = frame.with_columns(pl.col("p").cast(exact), pl.col("q").cast(exact))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "out.parquet"
        frame.filter(pl.col("t").is_not_null()).unique(("s", "t")).sort("s", "t").sink_parquet(path)
        return pl.scan_parquet(path).select(pl.len()).collect().item()


def compact_duckdb(folder: Path) -> int:
    """Decode, sort, de-duplicate and write with DuckDB; nothing is checked or read back."""
    import duckdb

    with tempfile.TemporaryDirectory() as scratch:
        with duckdb.connect() as connection:
            connection.execute("set threads = 1")
            connection.execute(
                f"""
                copy (
                    select distinct on (s, id) * from (
                        select data->>'s' as s, (data->>'t')::bigint as id,
                            (data->>'p')::decimal(38, 9) as p, (data->>'q')::decimal(38, 9) as q,
                            (data->>'T')::bigint as at, (data->>'m')::boolean as m
                        from read_ndjson('{folder}/plain/*.ndjson', columns = {{data: 'JSON'}})
                        where data is not null
                    ) order by s, id
                ) to '{scratch}/out.parquet' (format parquet, compression zstd)
                """  # noqa: S608 - our own folders
            )
            found = connection.execute(f"select count(*) from '{scratch}/out.parquet'").fetchone()  # noqa: S608
        return int(found[0])


def candles_ours(folder: Path) -> int:
    """Reduce with `plugins.market_ops.candles`."""
    from plugins.market_ops.candles import candles_of_files

    return int(candles_of_files(sorted(folder.rglob("*.parquet")))["trades"].to_numpy().sum())


def candles_polars(folder: Path) -> int:
    """Reduce with polars on 64-bit steps; exact for these prices only."""
    import polars as pl

    quote = pl.col("p") * pl.col("q")
    is_buy = ~pl.col("is_buyer_maker")
    found = (
        pl.scan_parquet(sorted(folder.rglob("*.parquet")))
        .with_columns(
            pl.col("price").to_physical().alias("p"),
            pl.col("quantity").to_physical().alias("q"),
            pl.col("traded_at").dt.truncate("1m").alias("opened_at"),
        )
        .group_by("symbol", "opened_at")
        .agg(
            pl.col("p").get(pl.col("trade_id").arg_min()).alias("open"),
            pl.col("p").max().alias("high"),
            pl.col("p").min().alias("low"),
            pl.col("p").get(pl.col("trade_id").arg_max()).alias("close"),
            pl.col("q").sum().alias("volume"),
            quote.sum().alias("quote_volume"),
            pl.len().alias("trades"),
            (pl.col("q") * is_buy).sum().alias("taker_buy_volume"),
            (quote * is_buy).sum().alias("taker_buy_quote_volume"),
        )
        .collect(engine="streaming")
    )
    return int(found["trades"].sum())


def candles_duckdb(folder: Path) -> int:
    """Reduce with DuckDB's decimals."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("set threads = 1; set TimeZone = 'UTC'")
        found = connection.execute(
            f"""
            select sum(trades) from (
                select symbol, time_bucket(interval 1 minute, traded_at) as opened_at,
                    arg_min(price, trade_id), max(price), min(price), arg_max(price, trade_id),
                    sum(quantity), sum(price * quantity), count(*) as trades,
                    sum(if(is_buyer_maker, 0, quantity)),
                    sum(if(is_buyer_maker, 0, price * quantity))
                from read_parquet('{folder}/**/*.parquet') group by 1, 2
            )
            """  # noqa: S608 - our own folder
        ).fetchone()
    return int(found[0])


ENGINES: dict[str, dict[str, Callable[[Path], int]]] = {
    "compact": {"ours": compact_ours, "polars": compact_polars, "duckdb": compact_duckdb},
    "candles": {"ours": candles_ours, "polars": candles_polars, "duckdb": candles_duckdb},
}


def main(arguments: list[str]) -> None:
    """Run one engine once."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    work, engine, folder = arguments
    ENGINES[work][engine](Path(folder) / "warm")  # libraries are loaded before the clock starts
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    rows = ENGINES[work][engine](Path(folder) / "full")
    after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - began
    user = after.ru_utime - before.ru_utime
    seconds = {
        "cpu_seconds": user + after.ru_stime - before.ru_stime,
        "user_seconds": user,
        "wall_seconds": wall,
    }
    print(json.dumps({"rows": rows, **seconds, "peak_mb": peak_mib()}))


if __name__ == "__main__":
    main(sys.argv[1:])
