"""Starts bqemulator so that it fits the platform: fast appends, bounded memory, no network.

Run as a script by the *emulators'* Python (`sandbox.services` builds the command), not by the
platform's: bqemulator pins libraries that ours contradict. So this file imports the standard
library and the emulators' environment only. Ten things differ from `bqemulator start`:

* No automatic time-travel snapshot: it copies the whole table at every write, so appends slow down
  with the table and memory grows without end. `CREATE SNAPSHOT TABLE` still works;
  `FOR SYSTEM_TIME AS OF` reads the present.
* Each thread has a DuckDB cursor of its own. bqemulator shares one connection between the loop
  that answers REST and the threads that answer the Storage API: a query during an append can stop
  both for ever (one holds Python's lock, the other the connection's), or read the other's result.
* Tables in memory are tidied up after 256 MB of changes, not after sixteen megabytes: every
  time the statement that happens to come then would wait for up to a second.
* As many AppendRows streams may be open as a worker of the job needs. Each keeps a thread, and
  asyncio has no more threads than cores + 4: the next stream would wait for ever.
* A statement that was parsed is remembered: bqemulator parses each some twenty times, which takes
  longer than running it. So is what a statement became in DuckDB's SQL, and the tree that is only
  looked at, for it and for those that differ from it in long numbers only, as the statements of two
  runs of dbt do.
* A request is answered in one task. bqemulator takes two threads to find settings and caller, and
  three more tasks for a log that we turn off and for metrics that nobody reads.
* NUMERIC is BigQuery's, with nine decimals. bqemulator says so of literals only, and forgets it
  where it rewrites a statement again, as for `timestamp_micros` or a view; DuckDB's has three.
* Garbage is collected rarely, and not among what was imported.
* DuckDB's spatial extension is installed from its PyPI wheel, not from the network, below a home
  of the sandbox's own; the user's `~/.duckdb` is not touched. The avro extension is not on PyPI
  and stays away.
* Every default is set here, so that `BQEMU_*` variables of the user's shell change nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import importlib.util
import json
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_AUTOMATIC = "AUTO"
_STAGING_FOLDER = "uploads"
# Statements of two threads and their parts; a long one's tree takes about a megabyte.
_PARSED = 64
# Trees of shapes that are lent: of two runs of dbt, some of which are long.
_SHARED = 256
# Modules of bqemulator that only look at the trees of statements.
_READERS = frozenset(
    f"bqemulator.{module}"
    for module in (
        *("catalog.ddl_sync", "jobs.ddl_result", "jobs.executor", "jobs.routine_ddl"),
        "sql.catalog_schema",
    )
)
# And those that may change them, and are asked for each statement.
_CHANGERS = frozenset(
    f"bqemulator.{module}" for module in ("scripting.interpreter", "sql.rewriter.row_access_filter")
)
_BORROWERS = _READERS | _CHANGERS
# A run of dbt has some two hundred statements with its tests, a build in full has others.
_TRANSLATED = 1024
# Times in microseconds, and the times of day in dbt's names of temporary tables.
_LONG_NUMBER = re.compile(r"(?<![\d.])(?:\d{16}|\d{12})(?![\d.])")
_CHECKPOINT = "256MB"
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


def checkpoint_rarely(engine: Any) -> None:
    """Let a DuckDBEngine class that keeps tables in memory checkpoint them rarely.

    On disk a checkpoint bounds what a start has to read again, so there it stays as it is.
    """
    original = engine._apply_session_pragmas

    def apply(self: Any) -> None:
        original(self)
        if self._settings.data_dir is None:
            self._connection.execute(f"SET GLOBAL checkpoint_threshold = '{_CHECKPOINT}'")

    engine._apply_session_pragmas = apply


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


def share_trees(sqlglot: Any) -> None:
    """Let `sqlglot.parse_one` give some modules the tree of the text's shape, or a copy of it."""
    original = sqlglot.parse_one

    @functools.lru_cache(_SHARED)
    def shared(shape: str, read: str) -> SharedTree:
        return SharedTree(original(shape, read=read), set(_LONG_NUMBER.findall(shape)))

    def parse_or_share(sql: str, read: Any = None, **options: Any) -> Any:
        caller = sys._getframe(1).f_globals["__name__"]
        if not options and caller in _BORROWERS:
            shape, numbers = shape_of(sql)
            with contextlib.suppress(Exception):  # its message shall have the text's own numbers
                if tree := shared(shape, read).lend(numbers):
                    return tree if caller in _READERS else tree.copy()
        return original(sql, read=read, **options)

    sqlglot.parse_one = parse_or_share


class SharedTree:
    """The tree of a shape, lent with the numbers of one text to one task of the loop at a time.

    Args:
        tree: of the shape.
        stand_ins: the numbers in the shape.
    """

    def __init__(self, tree: Any, stand_ins: set[str]) -> None:
        self._tree = tree
        nodes = list(tree.walk())
        self._places = [
            (node, name, value)
            for node in nodes
            for name, value in node.args.items()
            if isinstance(value, str) and _LONG_NUMBER.search(value)
        ]
        found = {each for *_, value in self._places for each in _LONG_NUMBER.findall(value)}
        comments = " ".join(comment for node in nodes for comment in node.comments or ())
        self._is_whole = found == stand_ins and not _LONG_NUMBER.search(comments)
        self._borrower: Callable[[], asyncio.Task[Any] | None] = lambda: None
        self._numbers: dict[str, str] = {}

    def lend(self, numbers: dict[str, str]) -> Any:
        """Return the tree with numbers for its stand-ins; None while another task has it."""
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop in this thread
            return None
        borrower = self._borrower()
        if borrower is task and numbers == self._numbers:
            return self._tree
        if not (task and self._is_whole) or (borrower and not borrower.done()):
            return None
        for node, name, value in self._places:
            node.set(name, _LONG_NUMBER.sub(lambda found: numbers[found[0]], value))
        self._borrower, self._numbers = weakref.ref(task), numbers
        return self._tree


def remember_translated(translator: Any, tables: Any, ok: Any) -> None:
    """Let both steps of a translation remember what they made of statements of the same shape.

    Args:
        translator: the SQLTranslator class; its `translate` asks for types of columns, too.
        tables: the module of `rewrite_table_refs`, before others import the function by name.
        ok: what `translate` returns the statement in.
    """
    original, any_translator = translator.translate, translator()

    @remember_by_shape
    def translated(request: str, caller: Hashable) -> str:
        bq_sql, types = json.loads(request)
        result = original(any_translator, bq_sql, schema=types, caller=caller)
        return str(result.unwrap())

    def translate(self: Any, bq_sql: str, *, schema: Any = None, caller: Any = None) -> Any:
        try:
            return ok(translated(json.dumps([bq_sql, schema], ensure_ascii=False), caller))
        except Exception:  # its message shall have the statement's own numbers
            return original(self, bq_sql, schema=schema, caller=caller)

    translator.translate = translate
    tables.rewrite_table_refs = remember_by_shape(tables.rewrite_table_refs)


@functools.lru_cache(_PARSED)
def shape_of(text: str) -> tuple[str, dict[str, str]]:
    """Return a text with stand-ins for its long numbers, and the number of each stand-in.

    Texts that differ in long numbers only have the same shape.
    """
    stand_ins: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        number = found[0]
        return stand_ins.setdefault(number, str(10 ** (len(number) - 1) + len(stand_ins)))

    shape = _LONG_NUMBER.sub(stand_in, text)
    return shape, {each: number for number, each in stand_ins.items()}


def remember_by_shape(translate: Callable[..., str]) -> Callable[..., str]:
    """Return a function of a text and arguments that remembers by the shape of the text.

    What became of one text becomes of others of its shape with their numbers, unless it has not the
    same numbers as the text.
    """

    @functools.lru_cache(_TRANSLATED)
    def of_shape(shape: str, *arguments: Hashable) -> str:
        return translate(shape, *arguments)

    def of_text(text: str, *arguments: Hashable) -> str:
        shape, numbers = shape_of(text)
        result = of_shape(shape, *arguments)
        if numbers.keys() != set(_LONG_NUMBER.findall(result)):
            return translate(text, *arguments)
        return _LONG_NUMBER.sub(lambda found: numbers[found[0]], result)

    return of_text


def answer_in_one_task(server: Any, dependencies: Any, decoder: Any) -> None:
    """Let requests get what they need without threads, and pass no middleware that observes.

    Args:
        server: the module that calls `create_app`.
        dependencies: FastAPI's module that calls what a request needs.
        decoder: the class of middleware that stays.
    """
    original = server.create_app

    def create_app(context: Any) -> Any:
        app = original(context)
        app.user_middleware = [each for each in app.user_middleware if each.cls is decoder]
        return app

    async def run_here(function: Any, *arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    server.create_app = create_app
    dependencies.run_in_threadpool = run_here


def give_numeric_nine_decimals(generator: Any, decimal: Hashable) -> None:
    """Let a generator class of sqlglot write NUMERIC without digits as `DECIMAL(38, 9)`.

    Args:
        generator: the class that writes DuckDB's SQL.
        decimal: sqlglot's type of NUMERIC.
    """
    default, maximum = (38, 9), (38, 38)
    generator.TYPE_PARAM_SETTINGS = {**generator.TYPE_PARAM_SETTINGS, decimal: (default, maximum)}


def collect_garbage_rarely() -> None:
    """Look for garbage among young objects only, and less often.

    The tree of a statement is thousands of objects that refer to each other. With Python's limits
    looking for them takes a third of a translation, most of it among what was imported.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


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

    import bqemulator.sql.table_rewriter as tables  # type: ignore[import-not-found]
    import grpc.aio
    import sqlglot  # type: ignore[import-not-found]
    from bqemulator.domain.result import Ok  # type: ignore[import-not-found]
    from bqemulator.sql.translator import SQLTranslator  # type: ignore[import-not-found]

    remember_translated(SQLTranslator, tables, Ok)

    from bqemulator import server
    from bqemulator.api.middleware import (  # type: ignore[import-not-found]
        GzipRequestMiddleware,
    )
    from bqemulator.config import Settings  # type: ignore[import-not-found]
    from bqemulator.storage.engine import DuckDBEngine  # type: ignore[import-not-found]
    from bqemulator.versioning.snapshots import (  # type: ignore[import-not-found]
        SnapshotManager,
    )
    from fastapi.dependencies import utils
    from sqlglot import exp
    from sqlglot.dialects.dialect import Dialect  # type: ignore[import-not-found]
    from sqlglot.generators.duckdb import DuckDBGenerator  # type: ignore[import-not-found]

    install_spatial_extension()
    disable_automatic_snapshots(SnapshotManager)
    give_each_thread_a_cursor(DuckDBEngine)
    checkpoint_rarely(DuckDBEngine)
    give_streams_threads(grpc.aio)
    answer_in_one_task(server, utils, GzipRequestMiddleware)
    remember_parsed(Dialect)
    share_trees(sqlglot)
    give_numeric_nine_decimals(DuckDBGenerator, exp.DType.DECIMAL)
    collect_garbage_rarely()
    server.run_forever(Settings(**emulator_settings(options)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
