"""The supervisor with tiny fake services; real processes, so most of it is integration tier."""

import itertools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sandbox.probes import Probe, free_ports
from sandbox.process import members
from sandbox.state import READY, STOPPED
from sandbox.supervisor import (
    DONE,
    RESTARTING,
    Port,
    Service,
    StartError,
    Supervisor,
    check_ports,
    describe_exit,
    restart_delays,
    tail,
)

LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        server.accept()[0].close()
"""
SPAWN_AND_LISTEN = (
    """
import subprocess, sys
subprocess.Popen(["sleep", "600"], start_new_session=True)
"""
    + LISTEN
)


def python(code: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code, *map(str, arguments))


def connects(port: int) -> Probe:
    def probe() -> str | None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return None
        except OSError as error:
            return str(error)

    return probe


def listener(name: str, port: int, code: str = LISTEN, **options: object) -> Service:
    return Service(
        name,
        python(code, port),
        environment=dict(os.environ),
        probe=connects(port),
        ports=(Port(port, f"SANDBOX_{name.upper()}_PORT"),),
        **options,  # type: ignore[arg-type]
    )


class Clock:
    """Real time plus what a test adds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


Make = Callable[..., Supervisor]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Make]:
    made: list[Supervisor] = []

    def factory(*services: Service) -> Supervisor:
        supervisor = Supervisor(
            services, run_id=f"test-{tmp_path}", logs=tmp_path, directory=tmp_path, now=clock
        )
        made.append(supervisor)
        return supervisor

    yield factory
    for supervisor in made:
        assert supervisor.close() == []
    assert members(f"test-{tmp_path}") == []


def step_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, supervisor.statuses
        supervisor.step()
        time.sleep(0.01)


def phases(supervisor: Supervisor) -> dict[str, str]:
    return {status.name: status.phase for status in supervisor.statuses}


def test_delays_double_and_are_capped() -> None:
    assert list(itertools.islice(restart_delays(), 9)) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_exit_codes_are_described() -> None:
    assert describe_exit(3) == "exit code 3"
    assert describe_exit(-9) == "signal 9"


def test_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert "no log" in tail(log)
    log.write_text("")
    assert tail(log) == "    (empty)"
    log.write_text("\n".join(map(str, range(100))))
    assert tail(log, 2) == "    98\n    99"


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StartError) as caught:
            check_ports([listener("gcs", port)])
    text = str(caught.value)
    assert f"gcs: port {port} is taken by" in text
    assert f"(pid {os.getpid()})" in text
    assert "SANDBOX_GCS_PORT (--gcs-port)" in text


@pytest.mark.integration
def test_services_start_in_order_and_steps_run_once(make: Make, tmp_path: Path) -> None:
    first, second = free_ports("127.0.0.1", 2)
    order = tmp_path / "order"
    note = f"open({str(order)!r}, 'a').write('step\\n')"
    supervisor = make(
        listener("first", first),
        Service("step", python(note), environment=dict(os.environ), after=("first",)),
        listener("second", second, after=("step",)),
    )
    supervisor.open()
    supervisor.step()
    assert phases(supervisor) == {"first": "starting", "step": "waiting", "second": "waiting"}
    step_until(supervisor, lambda: supervisor.phase == READY)
    assert phases(supervisor) == {"first": READY, "step": DONE, "second": READY}
    assert order.read_text() == "step\n"
    supervisor.sample_memory()
    assert supervisor.statuses[0].resident_bytes > 1_000_000
    assert supervisor.peak_resident_bytes >= supervisor.statuses[0].peak_resident_bytes
    assert supervisor.close() == []
    assert set(phases(supervisor).values()) == {STOPPED}


@pytest.mark.integration
def test_a_service_that_ends_at_its_start_shows_its_log(make: Make) -> None:
    code = "import sys; print('no such bucket'); sys.exit(3)"
    supervisor = make(
        Service("job", python(code), environment=dict(os.environ), probe=lambda: "not there")
    )
    supervisor.open()
    with pytest.raises(StartError, match=r"(?s)job: ended with exit code 3.*no such bucket"):
        step_until(supervisor, lambda: False)


@pytest.mark.integration
def test_a_missing_program_is_named(make: Make) -> None:
    supervisor = make(Service("gcs", ("/no/such/program",), probe=lambda: "not there"))
    supervisor.open()
    with pytest.raises(StartError, match=r"(?s)gcs: ended with exit code 127.*/no/such/program"):
        step_until(supervisor, lambda: False)


@pytest.mark.integration
def test_a_service_that_is_not_ready_in_time_is_named(make: Make, clock: Clock) -> None:
    code = "import time; time.sleep(600)"
    supervisor = make(
        Service("job", python(code), probe=lambda: "connection refused", deadline_seconds=30)
    )
    supervisor.open()
    supervisor.step()
    supervisor.step()
    clock.ahead = 31
    with pytest.raises(StartError, match=r"job: not ready within 30 s \(connection refused\)"):
        supervisor.step()


@pytest.mark.integration
def test_a_crashed_service_is_restarted_and_its_preparation_repeated(
    make: Make, clock: Clock, tmp_path: Path
) -> None:
    (port,) = free_ports("127.0.0.1", 1)
    order = tmp_path / "order"
    note = f"open({str(order)!r}, 'a').write('step\\n')"
    supervisor = make(
        listener("broker", port),
        Service("step", python(note), environment=dict(os.environ), after=("broker",)),
    )
    supervisor.open()
    step_until(supervisor, lambda: supervisor.phase == READY)
    pid = supervisor.statuses[0].pid
    assert pid is not None
    psutil.Process(pid).kill()
    step_until(supervisor, lambda: phases(supervisor)["broker"] == RESTARTING)
    assert supervisor.statuses[0].note == "ended with signal 9"
    clock.ahead += 0.6
    step_until(supervisor, lambda: order.read_text() == "step\nstep\n")
    step_until(supervisor, lambda: set(phases(supervisor).values()) == {READY, DONE})
    assert supervisor.statuses[0].restarts == 1
    assert supervisor.statuses[0].exit_code == -9


@pytest.mark.integration
def test_late_environment_is_asked_when_the_services_before_are_ready(
    make: Make, tmp_path: Path
) -> None:
    (port,) = free_ports("127.0.0.1", 1)
    written = tmp_path / "written"
    note = f"import os; open({str(written)!r}, 'w').write(os.environ['CHANNELS'])"

    def ask() -> dict[str, str]:
        assert connects(port)() is None
        return {"CHANNELS": "trade"}

    supervisor = make(
        listener("exchange", port),
        Service("step", python(note), after=("exchange",), late_environment=ask),
    )
    supervisor.open()
    step_until(supervisor, lambda: supervisor.phase == READY)
    assert written.read_text() == "trade"


@pytest.mark.integration
def test_grandchildren_in_sessions_of_their_own_end_too(make: Make, tmp_path: Path) -> None:
    (port,) = free_ports("127.0.0.1", 1)
    supervisor = make(listener("service", port, SPAWN_AND_LISTEN))
    supervisor.open()
    step_until(supervisor, lambda: supervisor.phase == READY)
    names = {process.name() for process in members(f"test-{tmp_path}")}
    assert "sleep" in names
    assert supervisor.close() == []
    assert members(f"test-{tmp_path}") == []


@pytest.mark.integration
def test_a_service_that_ignores_sigterm_is_killed(make: Make) -> None:
    (port,) = free_ports("127.0.0.1", 1)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LISTEN
    supervisor = make(listener("stubborn", port, code, grace_seconds=0.2))
    supervisor.open()
    step_until(supervisor, lambda: supervisor.phase == READY)
    assert supervisor.close() == []
    assert supervisor.statuses[0].exit_code == -9
