import asyncio
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.bigquery.launcher import (
    answer_in_one_task,
    checkpoint_rarely,
    disable_automatic_snapshots,
    emulator_settings,
    give_each_thread_a_cursor,
    give_streams_threads,
    isolate,
    parse_arguments,
    remember_by_shape,
    remember_parsed,
    remember_translated,
    share_trees,
    spatial_extension,
)

ARGUMENTS = ["--home", "/h", "--project", "crypto-local", "--rest-port", "1", "--grpc-port", "2"]


def test_settings_bind_to_loopback_and_keep_off_the_network() -> None:
    settings = emulator_settings(parse_arguments(ARGUMENTS))
    assert settings["rest_host"] == settings["grpc_host"] == "127.0.0.1"
    assert settings["persistence_mode"] == "ephemeral"
    assert settings["enable_format_extensions"] is False
    assert settings["upload_staging_dir"] == Path("/h/uploads")


def test_a_data_folder_makes_it_persistent() -> None:
    settings = emulator_settings(parse_arguments([*ARGUMENTS, "--data-dir", "/d"]))
    assert (settings["persistence_mode"], settings["data_dir"]) == ("persistent", Path("/d"))


def test_the_emulator_has_a_home_of_its_own_and_no_settings_of_the_user() -> None:
    environment = {"HOME": "/home/me", "BQEMU_REST_PORT": "1", "PATH": "/bin"}
    assert isolate(environment, Path("/h")) == {"HOME": "/h", "PATH": "/bin"}


class Manager:
    def capture(self, project: str, dataset: str, table: str, *, kind: str = "AUTO") -> str:
        return f"{project}.{dataset}.{table} {kind}"


def test_only_automatic_snapshots_are_left_out() -> None:
    manager = type("Patched", (Manager,), {})
    disable_automatic_snapshots(manager)
    assert manager().capture("p", "d", "t") is None
    assert manager().capture("p", "d", "t", kind="AUTO") is None
    assert manager().capture("p", "d", "t", kind="USER") == "p.d.t USER"


class Connection:
    def __init__(self, name: str) -> None:
        self.name = name
        self.cursors: list[Connection] = []
        self.executed: list[str] = []

    def cursor(self) -> "Connection":
        self.cursors.append(Connection(f"{self.name}'s cursor"))
        return self.cursors[-1]

    def execute(self, sql: str) -> None:
        self.executed.append(sql)


def in_a_thread(function: Any) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(10)
    return results[0]


def test_each_thread_but_the_loops_has_a_cursor() -> None:
    class Engine:
        def __init__(self, root: Connection) -> None:
            self._connection = root

        @property
        def connection(self) -> Connection:
            return self._connection

    give_each_thread_a_cursor(Engine)
    root = Connection("root")
    engine = Engine(root)
    assert engine.connection is root
    first, again = in_a_thread(lambda: (engine.connection, engine.connection))
    assert first is again
    assert first is not root
    assert first.executed == ["SET TimeZone = 'UTC'"]
    assert in_a_thread(lambda: engine.connection) is not first
    restarted = Engine(Connection("another"))
    names = in_a_thread(lambda: (engine.connection.name, restarted.connection.name))
    assert names == ("root's cursor", "another's cursor")


def test_a_text_is_parsed_once_and_each_caller_has_its_own_tree() -> None:
    parsed: list[str] = []

    class Tree(list[str]):
        def copy(self) -> "Tree":
            return Tree(self)

    class Dialect:
        def __init__(self, **settings: str) -> None:
            self.settings = settings

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Dialect)

        def __hash__(self) -> int:
            return 1

        def parse(self, sql: str, **options: Any) -> list[Tree | None]:
            parsed.append(sql)
            return [Tree([sql, *map(str, options)]), None]

    remember_parsed(Dialect)
    first, again = Dialect().parse("select 1"), Dialect().parse("select 1")
    assert first == again == [["select 1"], None]
    assert first[0] is not again[0]
    assert parsed == ["select 1"]
    Dialect().parse("select 1", level="strict")
    Dialect().parse("select 1", level=[])
    Dialect(version="3").parse("select 1")
    assert parsed == ["select 1"] * 4


STATEMENT = "select {0} from t__tmp{1} where at in ({2}, {0}, 0.{2}) limit 12"


def test_statements_of_one_shape_are_translated_once_and_keep_their_numbers() -> None:
    translated: list[str] = []

    def translate(text: str, dialect: str) -> str:
        translated.append(text)
        return f"{dialect} {text}"

    recall = remember_by_shape(translate)
    first = STATEMENT.format(1795305600000000, "063304605147", 1795305600000001)
    second = STATEMENT.format(1795305600000007, "120000000001", 1795305600000000)
    second = second.replace("0.1795305600000000", "0.1795305600000001")
    assert [recall(text, "duckdb") for text in (first, second)] == [
        f"duckdb {first}",
        f"duckdb {second}",
    ]
    assert len(translated) == 1
    # another argument, a number that is written twice, one that is no time: other shapes
    recall(first, "spark")
    recall(STATEMENT.format(1795305600000000, "063304605147", 1795305600000000), "duckdb")
    recall(first.replace("limit 12", "limit 13"), "duckdb")
    assert len(translated) == 4


@pytest.mark.parametrize(
    "translate",
    [
        lambda text: text[:-1],
        lambda text: f"{text} 1000000000000099",
    ],
)
def test_a_translation_that_computes_with_numbers_is_not_recalled(translate: Any) -> None:
    recall = remember_by_shape(translate)
    for number in (1795305600000000, 1795305600000001):
        text = f"select {number}"
        assert recall(text) == translate(text)


class Outcome:
    def __init__(self, value: str) -> None:
        self.value = value

    def unwrap(self) -> str:
        if "wrong" in self.value:
            raise ValueError(self.value)
        return self.value


def test_translations_depend_on_types_and_caller_and_errors_name_the_statements_numbers() -> None:
    asked: list[tuple[str, Any, Any]] = []

    class Translator:
        def translate(self, bq_sql: str, *, schema: Any = None, caller: Any = None) -> Outcome:
            asked.append((bq_sql, schema, caller))
            return Outcome(f"{caller} {bq_sql}")

    tables = types.SimpleNamespace(rewrite_table_refs=lambda sql, project: f"{project} {sql}")
    remember_translated(Translator, tables, Outcome)
    translator = Translator()
    for number in (1795305600000000, 1795305600000001):
        for types_of in ({"t": {"a": "BIGINT"}}, {f"t{number}": {"a": "VARCHAR"}}, None):
            sql = f"selects é from t{number}"
            answer = translator.translate(sql, schema=types_of, caller="me")
            assert answer.unwrap() == f"me {sql}"
    assert len(asked) == 3
    assert translator.translate("wrong 1795305600000002").value == "None wrong 1795305600000002"
    assert tables.rewrite_table_refs("1795305600000003", "p") == "p 1795305600000003"


class Node:
    """Stands for a node of sqlglot's: a text, and the nodes of its words."""

    def __init__(self, text: str, comments: list[str] | None = None) -> None:
        self.args: dict[str, Any] = {"this": text, "is_long": True}
        self.comments = comments
        self.words = [Node(word) for word in text.split()] if " " in text else []

    def walk(self) -> list["Node"]:
        return [self, *self.words]

    def set(self, name: str, value: str) -> None:
        self.args[name] = value

    def copy(self) -> "Node":
        return Node(self.args["this"], self.comments)

    def __str__(self) -> str:
        return " ".join(word.args["this"] for word in self.words)


class Parser:
    """Stands for the module sqlglot; `parsed` is what was parsed."""

    def __init__(self) -> None:
        self.parsed: list[str] = []
        share_trees(self)

    def parse_one(self, sql: str, read: Any = None, **_: str) -> Node:
        self.parsed.append(sql)
        if "wrong" in sql:
            raise ValueError(sql)
        text, _, comment = sql.partition(" --")
        return Node(text, [comment])

    def ask(self, sql: str, module: str = "catalog.ddl_sync", **options: str) -> Node:
        names = {
            "__name__": f"bqemulator.{module}",
            "sqlglot": self,
            "sql": sql,
            "options": options,
        }
        node: Node = eval("sqlglot.parse_one(sql, read='bigquery', **options)", names)  # noqa: S307
        assert str(node) == sql.partition(" --")[0]
        return node


def in_a_task(*functions: Callable[[], Any]) -> list[Any]:
    """Call functions, each in a task of its own, one after another."""

    async def call(function: Callable[[], Any]) -> Any:
        return function()

    async def each() -> list[Any]:
        return [await asyncio.create_task(call(function)) for function in functions]

    return asyncio.run(each())


FIRST = "select t from x__tmp094913906212 where at > 1795305600000001"
SECOND = FIRST.replace("094913906212", "095327737514").replace("0001", "0002")


def test_statements_of_one_shape_share_a_tree_with_their_own_numbers() -> None:
    parser = Parser()
    first, again, second = in_a_task(
        lambda: parser.ask(FIRST), lambda: parser.ask(FIRST), lambda: parser.ask(SECOND)
    )
    assert first is again is second
    assert len(parser.parsed) == 1


def test_a_tree_that_another_task_has_is_not_changed() -> None:
    parser = Parser()

    async def hold() -> tuple[Node, Node]:
        mine = parser.ask(FIRST)
        (other,) = await asyncio.gather(asyncio.create_task(ask_second()))
        assert str(mine) == FIRST
        assert parser.ask(FIRST) is mine
        return mine, other

    async def ask_second() -> Node:
        return parser.ask(SECOND)

    mine, other = asyncio.run(hold())
    assert mine is not other


def test_a_task_with_two_statements_of_one_shape_has_two_trees() -> None:
    parser = Parser()

    def both() -> None:
        first, second = parser.ask(FIRST), parser.ask(SECOND)
        assert first is not second
        assert (str(first), str(second)) == (FIRST, SECOND)

    in_a_task(both)


def test_who_changes_trees_has_a_copy() -> None:
    parser, module = Parser(), "sql.rewriter.row_access_filter"
    shared, copy, second = in_a_task(
        lambda: parser.ask(FIRST),
        lambda: parser.ask(FIRST, module),
        lambda: parser.ask(SECOND, module),
    )
    assert len({id(each) for each in (shared, copy, second)}) == 3
    assert len(parser.parsed) == 1


def test_other_callers_and_texts_are_parsed_by_themselves() -> None:
    parser = Parser()
    comment = f"{FIRST} -- of 1795305600000009"
    in_a_task(
        lambda: parser.ask(FIRST, "sql.translator"),
        lambda: parser.ask(FIRST, into="x"),
        lambda: parser.ask(comment),
        lambda: parser.ask(comment),
    )
    assert parser.ask(FIRST) is not parser.ask(FIRST), "no task, so nobody returns it"
    assert parser.parsed[:2] == [FIRST, FIRST]
    assert parser.parsed.count(comment) == 2


def test_an_error_has_the_numbers_of_the_text() -> None:
    with pytest.raises(ValueError, match="wrong at 1795305600000001"):
        in_a_task(lambda: Parser().ask("wrong at 1795305600000001"))


@pytest.mark.parametrize(("folder", "settings"), [(None, 1), (Path("/d"), 0)])
def test_only_tables_in_memory_are_checkpointed_rarely(folder: Path | None, settings: int) -> None:
    executed: list[str] = []

    class Engine:
        _settings = types.SimpleNamespace(data_dir=folder)
        _connection = types.SimpleNamespace(execute=executed.append)

        def _apply_session_pragmas(self) -> None:
            executed.append("SET TimeZone = 'UTC'")

    checkpoint_rarely(Engine)
    Engine()._apply_session_pragmas()
    assert executed[0] == "SET TimeZone = 'UTC'"
    assert len(executed) == 1 + settings
    assert all("checkpoint_threshold" in sql for sql in executed[1:])


def test_a_request_is_answered_in_one_task() -> None:
    class Kept: ...

    class Dropped: ...

    def create_app(context: str) -> Any:
        layers = [types.SimpleNamespace(cls=each) for each in (Kept, Dropped)]
        return types.SimpleNamespace(context=context, user_middleware=layers)

    server = types.SimpleNamespace(create_app=create_app)
    dependencies = types.SimpleNamespace()
    answer_in_one_task(server, dependencies, Kept)
    app = server.create_app("of the emulator")
    assert app.context == "of the emulator"
    assert [layer.cls for layer in app.user_middleware] == [Kept]
    thread = asyncio.run(dependencies.run_in_threadpool(threading.get_ident))
    assert thread == threading.get_ident()


def test_a_server_has_a_thread_for_each_stream() -> None:
    made: list[tuple[Any, ...]] = []
    aio = types.SimpleNamespace(
        server=lambda *arguments, **options: made.append((*arguments, options))
    )
    give_streams_threads(aio)
    aio.server(interceptors=())
    ((pool, options),) = made
    assert options == {"interceptors": ()}
    barrier = threading.Barrier(50)
    assert sorted(pool.map(lambda _: barrier.wait(5), range(50))) == list(range(50))
    pool.shutdown()


def test_the_spatial_extension_comes_from_its_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "duckdb_extension_spatial"
    extension = package / "extensions" / "v1.5.5" / "spatial.duckdb_extension"
    extension.parent.mkdir(parents=True)
    extension.touch()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert spatial_extension("1.5.5") == extension
    with pytest.raises(FileNotFoundError, match=r"install duckdb-extension-spatial==1\.5\.6"):
        spatial_extension("1.5.6")


def test_importing_the_launcher_imports_nothing_of_the_emulators() -> None:
    assert isinstance(sys.modules["sandbox.bigquery.launcher"], types.ModuleType)
    assert "bqemulator" not in sys.modules
