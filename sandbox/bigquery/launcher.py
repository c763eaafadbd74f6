"""Starts bqemulator so that it fits the platform: fast appends, bounded memory, no network.

Run as a script by the *emulators'* Python (`sandbox.services` builds the command), not by the
platform's: bqemulator pins libraries that ours contradict. So this file imports the standard
library and the emulators' environment only. Six things differ from `bqemulator start`:

* No automatic time-travel snapshot: it copies the whole table at every write, so appends slow down
  with the table and memory grows without end. `CREATE SNAPSHOT TABLE` still works;
  `FOR SYSTEM_TIME AS OF` reads the present.
* Each thread has a DuckDB cursor of its own. bqemulator shares one connection between the loop
  that answers REST and the threads that answer the Storage API: a query during an append can stop
  both for ever (one holds Python's lock, the other the connection's), or read the other's result.
* As many AppendRows streams may be open as a worker of the job needs. Each keeps a thread, and
  asyncio has no more threads than cores + 4: the next stream would wait for ever.
* A statement that was parsed is remembered: bqemulator parses each some twenty times, which takes
  longer than running it.
* DuckDB's spatial extension is installed from its PyPI wheel, not from the network, below a home
  of the sandbox's own; the user's `~/.duckdb` is not touched. The avro extension is not on PyPI
  and stays away.
* Every default is set here, so that `BQEMU_*` variables of the user's shell change nothing.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import sys
import threading
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_AUTOMATIC = "AUTO"
_STAGING_FOLDER = "uploads"
# Statements of two threads and their parts; a long one's tree takes about a megabyte.
_PARSED = 64
# A writer has a stream a table, a worker a writer a thread; threads are made as streams come.
_STREAMS = 128


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the launcher's command line."""
    parser = argparse.ArgumentParser(prog="launcher.py", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="HOME of the emulator")
    parser.add_argument("--project", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--rest-port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--gcs-root", type=Path, help="folder that gs:// addresses are read from")
    parser.add_argument("--data-dir", type=Path, help="keep the tables here; in memory if absent")
    return parser.parse_args(arguments)


def isolate(environment: dict[str, str], home: Path) -> dict[str, str]:
    """Return the environment of the emulator: its own HOME, none of the user's `BQEMU_*`."""
    kept = {name: value for name, value in environment.items() if not name.startswith("BQEMU_")}
    return {**kept, "HOME": str(home)}


def spatial_extension(version: str) -> Path:
    """Return the spatial extension in its PyPI wheel for a DuckDB version such as `1.5.5`.

    Raises:
        FileNotFoundError: the wheel is missing or carries another DuckDB version.
    """
    spec = importlib.util.find_spec("duckdb_extension_spatial")
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    extension = package / "extensions" / f"v{version}" / "spatial.duckdb_extension"
    if spec is None or not extension.is_file():
        raise FileNotFoundError(
            f"DuckDB's spatial extension for DuckDB {version}: expected at {extension}; "
            f"install duckdb-extension-spatial=={version} (`make setup` does)"
        )
    return extension


def install_spatial_extension() -> None:
    """Install DuckDB's spatial extension below HOME; a no-op when it is there."""
    import duckdb

    extension = str(spatial_extension(duckdb.__version__)).replace("'", "''")
    with duckdb.connect() as connection:
        connection.execute(f"INSTALL '{extension}'")


def disable_automatic_snapshots(manager: Any) -> None:
    """Let the `capture` of a SnapshotManager class do nothing for automatic snapshots."""
    original = manager.capture

    def capture(self: Any, *table: str, kind: str = _AUTOMATIC) -> Any:
        return None if kind == _AUTOMATIC else original(self, *table, kind=kind)

    manager.capture = capture


def give_each_thread_a_cursor(engine: Any) -> None:
    """Let the `connection` of a DuckDBEngine class be a cursor of the calling thread.

    The main thread, where the loop runs, keeps the connection itself. A cursor is a connection to
    the same database; session settings are not shared and so repeated.
    """
    original = engine.connection
    cursors = threading.local()

    def connection(self: Any) -> Any:
        root = original.fget(self)
        if threading.current_thread() is threading.main_thread():
            return root
        if getattr(cursors, "root", None) is not root:
            cursors.root, cursors.cursor = root, root.cursor()
            cursors.cursor.execute("SET TimeZone = 'UTC'")
        return cursors.cursor

    engine.connection = property(connection)


def give_streams_threads(aio: Any) -> None:
    """Let the servers that `grpc.aio` makes answer `_STREAMS` calls at once."""
    original = aio.server

    def server(*arguments: Any, **options: Any) -> Any:
        return original(ThreadPoolExecutor(_STREAMS), *arguments, **options)

    aio.server = server


def remember_parsed(dialect: Any) -> None:
    """Let the `parse` of a Dialect class copy the trees of texts that it parsed just before."""
    original = dialect.parse

    @functools.lru_cache(_PARSED)
    def parse(dialect: Any, sql: str, options: frozenset[tuple[str, Any]]) -> Any:
        return original(dialect, sql, **dict(options))

    def parse_or_copy(self: Any, sql: str, **options: Any) -> Any:
        # dialects are equal whatever their settings
        if self.settings or not all(isinstance(option, Hashable) for option in options.values()):
            return original(self, sql, **options)
        return [tree and tree.copy() for tree in parse(self, sql, frozenset(options.items()))]

    dialect.parse = parse_or_copy


def emulator_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of bqemulator's `Settings`."""
    return {
        "rest_host": options.host,
        "rest_port": options.rest_port,
        "grpc_host": options.host,
        "grpc_port": options.grpc_port,
        "default_project_id": options.project,
        "persistence_mode": "persistent" if options.data_dir else "ephemeral",
        "data_dir": options.data_dir,
        "gcs_local_root": options.gcs_root,
        "upload_staging_dir": options.home / _STAGING_FOLDER,
        "enable_format_extensions": False,
        "log_level": "warning",
        "log_format": "console",
    }


def main(arguments: list[str]) -> int:
    """Run the emulator until SIGINT or SIGTERM."""
    options = parse_arguments(arguments)
    (options.home / _STAGING_FOLDER).mkdir(parents=True, exist_ok=True)
    environment = isolate(dict(os.environ), options.home)
    os.environ.clear()
    os.environ.update(environment)

    import grpc.aio
    from bqemulator.config import Settings  # type: ignore[import-not-found]
    from bqemulator.server import run_forever  # type: ignore[import-not-found]
    from bqemulator.storage.engine import DuckDBEngine  # type: ignore[import-not-found]
    from bqemulator.versioning.snapshots import (  # type: ignore[import-not-found]
        SnapshotManager,
    )
    from sqlglot.dialects.dialect import Dialect  # type: ignore[import-not-found]

    install_spatial_extension()
    disable_automatic_snapshots(SnapshotManager)
    give_each_thread_a_cursor(DuckDBEngine)
    give_streams_threads(grpc.aio)
    remember_parsed(Dialect)
    run_forever(Settings(**emulator_settings(options)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
