import json
import logging
import sys
from collections.abc import Iterator

import pytest

from collector.logs import JsonFormatter, configure_logs


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    named = {name: logging.getLogger(name) for name in ("google", "grpc", "picows", "websockets")}
    levels = {name: logger.level for name, logger in named.items()}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, logger in named.items():
        logger.setLevel(levels[name])


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("collector.spool", logging.WARNING, "", 1, message, arguments, None)
    made.__dict__.update(fields)
    return made


def test_a_record_is_one_line_of_json() -> None:
    line = JsonFormatter().format(record("%d frames\nof %s", 3, "币安", created=1770000000.25))
    assert "\n" not in line
    assert "币安" in line
    assert json.loads(line) == {
        "time": "2026-02-02T02:40:00.250+00:00",
        "severity": "WARNING",
        "logger": "collector.spool",
        "message": "3 frames\nof 币安",
    }


def test_an_exception_is_part_of_it() -> None:
    try:
        raise ValueError("the disk is full")
    except ValueError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert "\n" not in line
    exception = json.loads(line)["exception"]
    assert exception.startswith("Traceback")
    assert exception.endswith("ValueError: the disk is full")


@pytest.mark.usefixtures("restored_logging")
def test_everything_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("INFO")
    logging.getLogger("collector").info("shown")
    logging.getLogger("collector").debug("not shown")
    logging.getLogger("websockets.client").info("chatter")
    logging.getLogger("grpc").warning("grpc: shown")
    captured = capsys.readouterr()
    assert captured.out == ""
    messages = [json.loads(line)["message"] for line in captured.err.splitlines()]
    assert messages == ["shown", "grpc: shown"]
