from pathlib import Path

from sandbox.state import (
    READY,
    ServiceStatus,
    State,
    SupervisorLock,
    is_supervised,
    read_state,
    write_state,
)

STATE = State(
    run_id="r",
    pid=1,
    phase=READY,
    started_at="2026-01-01T00:00:00+00:00",
    services=(ServiceStatus("gcs", READY, 7, 0, None, 1, 2, "/log", "http://h:1", ""),),
)


def test_state_survives_the_file(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    write_state(tmp_path, STATE)
    assert read_state(tmp_path) == STATE


def test_what_another_version_wrote_is_no_state(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"services": [{"name": "x"}]}'):
        (tmp_path / "state.json").write_text(text)
        assert read_state(tmp_path) is None


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    assert not is_supervised(tmp_path)
    with SupervisorLock(tmp_path) as lock:
        assert lock.acquire()
        assert is_supervised(tmp_path)
        with SupervisorLock(tmp_path) as second:
            assert not second.acquire()
    assert not is_supervised(tmp_path)
