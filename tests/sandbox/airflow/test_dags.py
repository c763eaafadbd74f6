from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.airflow.dags import CLOSING, OPEN, Dags, Step, access, dag_files, line
from sandbox.airflow.environment import airflow_environment, read_password
from sandbox.airflow.rest import AirflowError, Run
from sandbox.settings import Settings


def run_of(dag: str, state: str, number: int = 0, at: str = "1") -> Run:
    return Run(dag, f"{dag}-{number}", state, at, at, f"http://h/{dag}/{number}")


class World:
    """An Airflow in which time passes when somebody waits."""

    url = "http://h"

    def __init__(self, *known: str) -> None:
        self.now = 0.0
        self.known = dict.fromkeys(known, True)
        self.outcome: dict[str, str] = {}
        self.follows: dict[str, str] = {}
        self.all: list[Run] = []
        self.events: list[str] = []
        self.is_busy = False

    def wait(self, note: str = "") -> None:
        self.now += 1

    def dags(self) -> dict[str, bool]:
        if self.is_busy:
            raise AirflowError("busy")
        return self.known

    def unpause(self, dag: str) -> None:
        self.known[dag] = False

    def pause(self, dag: str) -> None:
        self.known[dag] = True

    def trigger(self, dag: str, conf: Mapping[str, Any] | None = None) -> Run:
        self.events.append(f"{dag} {dict(conf or {})}".replace(" {}", ""))
        return self._add(dag)

    def run(self, dag: str, run: str) -> Run:
        state = self.outcome.get(dag, "success")
        if state == "success" and dag in self.follows:
            self._add(self.follows.pop(dag))
        return run_of(dag, state)

    def runs(self, dag: str = "~", *, limit: int = 50) -> list[Run]:
        if self.is_busy:
            raise AirflowError("busy")
        return [run for run in reversed(self.all) if dag in ("~", run.dag)][:limit]

    def _add(self, dag: str) -> Run:
        self.all.append(run_of(dag, "running", len(self.all), at=str(len(self.all) + 2)))
        return self.all[-1]


def dags_of(world: World) -> Dags:
    return Dags(world, lambda: world.now)  # type: ignore[arg-type]


def test_steps_run_in_order_and_assets_start_what_follows() -> None:
    world = World("build_marts", "check_quality", "report_quality")
    world.follows = {"build_marts": "check_quality"}
    said: list[str] = []
    assert dags_of(world).finish(CLOSING, world.wait, said.append)
    assert world.events == ["build_marts", "report_quality {'day': 'today'}"]
    assert [text.split()[:2] for text in said] == [
        ["build_marts", "success"],
        ["check_quality", "success"],
        ["report_quality", "success"],
    ]
    assert all(world.known.values()), "schedules would compete with the certificate"


def test_what_follows_from_a_failure_is_not_waited_for() -> None:
    world = World("build_marts", "check_quality")
    world.outcome["build_marts"] = "failed"
    said: list[str] = []
    assert not dags_of(world).finish(CLOSING, world.wait, said.append)
    assert said[0].split()[:3] == ["build_marts", "failed", "http://h/build_marts/0"]
    assert "check_quality   not started: build_marts did not succeed" in said[1]
    assert world.now < 5


def test_an_asset_that_starts_nothing_is_given_up() -> None:
    world = World("build_marts", "check_quality")
    said: list[str] = []
    assert not dags_of(world).finish(CLOSING, world.wait, said.append)
    assert "not started within 60 s" in said[1]


def test_a_run_that_never_ends_is_given_up() -> None:
    world = World("build_marts")
    world.outcome["build_marts"] = "running"
    assert not dags_of(world).finish([Step("build_marts")], world.wait, lambda _: None)
    assert 900 <= world.now < 1000


def test_dags_are_unpaused_when_they_are_parsed() -> None:
    world = World("build_marts")
    assert dags_of(world).unpause({"build_marts", "broken"}, world.wait) == {"broken"}
    assert world.known == {"build_marts": False}
    assert 60 <= world.now < 70


def test_a_busy_airflow_keeps_the_last_line() -> None:
    world = World("build_marts")
    world.all = [run_of("build_marts", "success"), run_of("build_marts", "running", 1)]
    dags = dags_of(world)
    assert dags.look() == "airflow http://h build_marts running"
    world.is_busy, world.now = True, 100.0
    assert dags.look() == "airflow http://h build_marts running"


def test_the_line_has_the_newest_run_of_each() -> None:
    runs = [run_of("b_c", "queued"), run_of("a_b", "failed"), run_of("b_c", "success")]
    assert line("http://h", runs) == "airflow http://h a_b failed, b_c queued"


def test_the_password_is_shown_when_it_is_new(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    airflow_environment(settings)
    password = read_password(settings)
    assert password in access(settings, show_password=True)
    again = access(settings, show_password=False)
    assert password not in again
    assert str(tmp_path / "airflow" / "passwords.json") in again


def test_what_a_demo_runs_exists() -> None:
    assert dag_files() >= {*OPEN, *(step.dag for step in CLOSING)}
