import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandbox.faults import run
from sandbox.faults.run import Injected, InjectionError, Runner, Target, read_injections
from sandbox.faults.script import Injection, parse_script
from sandbox.process import RUN_MARK
from sandbox.settings import Settings
from sandbox.state import READY, ServiceStatus, State, write_state


@dataclass
class Victim(Target):
    """A sandbox that only notes down what happens to it."""

    sent: int = 0
    seen: list[tuple[float, str, int]] = field(default_factory=list)
    undone: list[float] = field(default_factory=list)
    now: float = 0.0

    def sent_messages(self) -> int:
        return self.sent

    def inject(
        self, injection: Injection, seed: int
    ) -> tuple[dict[str, Any], Callable[[], None] | None]:
        self.seen.append((round(self.now, 1), injection.what, seed))
        if injection.what == "list":
            raise InjectionError("no market")
        if injection.what == "disk_full":
            return {"pid": 3}, lambda: self.undone.append(round(self.now, 1))
        return {"struck": 2}, None

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.sent += 100


def test_a_script_is_carried_out_in_time(tmp_path: Path) -> None:
    text = """
    seed: 4
    faults:
      - {at: 2, what: cut, seconds: 3}
      - {at: 0, what: drop}
      - {at: {messages: 1000}, what: no_ping, seconds: 1}
      - {at: 1, what: list, symbol: XUSDT}
      - {at: 1, what: disk_full, seconds: 2}
    """
    victim, told = Victim(), list[Injected]()
    log = tmp_path / run.INJECTIONS_FILE
    runner = Runner(
        parse_script(text),
        victim,
        log,
        notice=told.append,
        clock=lambda: victim.now,
        wait=victim.wait,
    )
    done = runner.run()
    assert victim.seen == [
        (0.0, "drop", 4001),
        (0.5, "no_ping", 4002),
        (1.0, "list", 4003),
        (1.0, "disk_full", 4004),
        (2.0, "cut", 4000),
    ]
    assert victim.undone == [3.0]
    assert victim.now == pytest.approx(5.0, abs=0.1)
    assert done == told == read_injections(tmp_path)
    assert [each.error for each in done] == ["", "", "no market", "", ""]
    assert done[-1].sentence == "   2.0 s  cut seconds=3 (2)"
    assert json.loads(log.read_text("utf-8").splitlines()[0])["what"] == "drop"


def test_a_stop_ends_it_and_undoes_what_must_be(tmp_path: Path) -> None:
    victim = Victim()
    text = "faults: [{at: 0, what: disk_full, seconds: 9}, {at: 5, what: cut}]"
    log = tmp_path / "log"
    runner = Runner(parse_script(text), victim, log, clock=lambda: victim.now, wait=victim.wait)
    assert len(runner.run(lambda: victim.now > 1)) == 1
    assert len(victim.undone) == 1


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Settings, subprocess.Popen[bytes]]]:
    """A process that stands for the collector: it writes a line a moment, and says if it can."""
    program = (
        "import sys, time\n"
        f"file = open({str(tmp_path / 'data')!r}, 'wb', buffering=0)\n"
        "while True:\n"
        "    try:\n"
        "        file.write(b'x' * 10000)\n"
        "    except OSError as error:\n"
        "        print(error.errno, flush=True)\n"
        "        break\n"
        "    time.sleep(0.001)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, RUN_MARK: "r"},
        stdout=subprocess.PIPE,
    )
    settings = Settings(home=tmp_path)
    status = ServiceStatus("collector", READY, process.pid, 0, None, 1, 1, "", "", "")
    write_state(tmp_path, State("r", 1, READY, "", settings=settings.document, services=(status,)))
    yield settings, process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.integration
def test_a_full_disk_is_full_until_it_is_not(
    service: tuple[Settings, subprocess.Popen[bytes]],
) -> None:
    settings, process = service
    before = psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE)
    target = Target(settings)
    result, undo = target.inject(Injection("disk_full", {"seconds": 1}, 0), 0)
    assert result == {"pid": process.pid}
    assert process.stdout is not None
    assert process.stdout.readline() == b"27\n"  # EFBIG
    assert undo is not None
    undo()
    assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE) == before
    assert before[1] == resource.getrlimit(resource.RLIMIT_FSIZE)[1]


@pytest.mark.integration
def test_a_process_is_killed_and_only_the_right_one(
    service: tuple[Settings, subprocess.Popen[bytes]],
) -> None:
    settings, process = service
    target = Target(settings)
    with pytest.raises(InjectionError, match="job: no such process runs"):
        target.inject(Injection("kill", {"process": "job"}, 0), 0)
    target.inject(Injection("kill", {"process": "collector"}, 0), 0)
    assert process.wait(5) == -9
    with pytest.raises(InjectionError, match="collector: "):
        target.inject(Injection("kill", {"process": "collector"}, 0), 0)


@dataclass
class Fork:
    """A process of Airflow's, as far as it is looked at."""

    pid: int
    born: float = 0.0
    forks: list["Fork"] = field(default_factory=list)

    def children(self) -> list["Fork"]:
        return self.forks

    def create_time(self) -> float:
        return self.born


def test_airflows_components_are_told_by_the_order_of_their_birth() -> None:
    tasks = [Fork(31), Fork(32), Fork(33)]
    scheduler = Fork(5, 1.0, tasks)
    leader = Fork(1, 0.0, [Fork(9, 3.0), scheduler, Fork(7, 2.0), Fork(6, 2.0)])
    found = {
        name: run._component(leader, name, 0).pid
        for name in ("scheduler", "triggerer", "dag-processor", "api-server")
    }
    assert found == {"scheduler": 5, "triggerer": 6, "dag-processor": 7, "api-server": 9}
    killed = {run._component(leader, "worker", seed).pid for seed in range(20)}
    assert killed == {31, 32, 33}
    scheduler.forks = []
    with pytest.raises(InjectionError, match="airflow-worker: no task is running"):
        run._component(leader, "worker", 0)
    leader.forks = [scheduler]
    with pytest.raises(InjectionError, match="airflow-triggerer: it does not run"):
        run._component(leader, "triggerer", 0)


def test_a_place_that_does_not_answer_is_told(tmp_path: Path) -> None:
    target = Target(Settings(home=tmp_path, ports=Settings().ports.free()))
    for what in ("cut", "broker_lost_ack"):
        with pytest.raises(InjectionError, match="is it running, and Pub/Sub the embedded one"):
            target.inject(Injection(what, {}, 0), 0)
    with pytest.raises(InjectionError, match="no such process runs"):
        target.inject(Injection("kill", {"process": "collector"}, 0), 0)
