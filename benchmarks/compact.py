"""Compaction: raw objects to one hour of Parquet, beside other engines, one core each.

Ours reads zstd, compares bytes and control totals, spills, and reads back what it wrote. The others
get the lines unpacked and only decode, sort, de-duplicate and write.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

from beam_jobs.archive import ArchivedFrame, manifest_name, object_manifest
from benchmarks.engines import ENGINES, HOUR
from benchmarks.tools import made_up_trades, run_json
from market_data.frames import Frame, FrameHeader, HeaderTotals, encode_frame, join_lines
from plugins.market_ops.archive.compact import Hour
from plugins.market_ops.archive.storage import FolderStore

_FRAME_LINES = 2_000
_FRAMES_AN_OBJECT = 50
_ROUNDS = 3


def measure(trades: int) -> list[dict[str, object]]:
    """Compact so many messages, 1 % of them repeated; engines take turns, the median counts."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_objects(root / "warm", made_up_trades(1_000))
        messages = made_up_trades(trades)
        write_objects(root / "full", messages + messages[::100])
        rows = measure_engines("compact", root)
        parquet = sum(path.stat().st_size for path in (root / "full").rglob("*.parquet"))
        rows[0]["bytes_a_trade"] = parquet / trades
        return [{"bytes_a_trade": "", **row} for row in rows]


def measure_engines(work: str, root: Path) -> list[dict[str, object]]:
    """Run each engine in turns and return the median of each."""
    runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES[work]}
    environment = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    for _ in range(_ROUNDS):
        for engine, found in runs.items():
            if engine == "ours":  # what it wrote stays, to be weighed
                for kind in ("warm", "full"):
                    shutil.rmtree(root / kind / "compact", ignore_errors=True)
            arguments = ["-m", "benchmarks.engines", work, engine, str(root)]
            found.append(run_json(arguments, core=1, environment=environment))
    medians = {
        engine: sorted(found, key=lambda run: run["cpu_seconds"])[_ROUNDS // 2]
        for engine, found in runs.items()
    }
    ours = medians["ours"]["rows"] / medians["ours"]["cpu_seconds"]
    return [
        {
            "engine": engine,
            "rows": int(run["rows"]),
            "per_cpu_second": run["rows"] / run["cpu_seconds"],
            "per_user_second": run["rows"] / run["user_seconds"],
            "per_wall_second": run["rows"] / run["wall_seconds"],
            "ours_is_times": ours / (run["rows"] / run["cpu_seconds"]),
            "peak_mb": run["peak_mb"],
        }
        for engine, run in medians.items()
    ]


def write_objects(root: Path, messages: list[bytes]) -> None:
    """Write messages as raw objects with manifests, and as plain lines for the others."""
    store, hour = FolderStore(root), Hour("spot", HOUR)
    received_at = time.time_ns() // 1000
    lines = [b'{"received_at":%d,%s' % (received_at, message[1:]) for message in messages]
    frames = [
        _frame(lines[start : start + _FRAME_LINES], number)
        for number, start in enumerate(range(0, len(lines), _FRAME_LINES))
    ]
    for start in range(0, len(frames), _FRAMES_AN_OBJECT):
        part = frames[start : start + _FRAMES_AN_OBJECT]
        name = f"{hour.raw_folder}{start:06}.ndjson.zst"
        data = b"".join(frame.data for frame in part)
        store.write(name, data)
        store.write(manifest_name(name), json.dumps(object_manifest(name, data, part)).encode())
    for number, start in enumerate(range(0, len(lines), 100_000)):
        store.write(f"plain/{number:04}.ndjson", join_lines(lines[start : start + 100_000]))


def _frame(lines: list[bytes], number: int) -> ArchivedFrame:
    ids: dict[str, list[int]] = {}
    for line in lines:
        data = json.loads(line)["data"]
        ids.setdefault(data["s"], []).append(data["t"])
    header = FrameHeader(
        frame_id=f"bench/1/{number}",
        market="spot",
        channel="trade",
        collector="bench",
        epoch=1,
        sequence=number,
        source="stream",
        lines=len(lines),
        opened_at=1,
        closed_at=2,
        symbols={name: HeaderTotals(min(n), max(n), len(n), sum(n)) for name, n in ids.items()},
    )
    return ArchivedFrame(header, encode_frame(Frame(header, join_lines(lines))))
